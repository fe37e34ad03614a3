/// A difference between what the state says and what is there: what it is about, and what is wrong with it.
struct Problem: Encodable, Equatable, Sendable {
  let subject: String
  let problem: String
}
