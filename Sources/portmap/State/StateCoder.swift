import Foundation

/// Turns states into JSON and back.
///
/// Most commands write one state twice, with an intent and without, and there may be thousands of mappings in it. So
/// the text of the last state is kept but for its intent, which stands before all the rest: of two keys of one name, by
/// hand perhaps, JSONDecoder takes the first.
struct StateCoder {
  private var known: (state: State, text: Data)?

  /// Reads the text of a state file.
  ///
  /// - Throws: StateError with `path` where it is damaged or of a newer version.
  mutating func decode(_ data: Data, path: String) throws(StateError) -> State {
    let decoder = JSONDecoder()
    let state = Result { try decoder.decode(State.self, from: data) }
    // Whatever a newer version may have changed, this stands where it did.
    struct Version: Decodable { let version: Int }
    let version = (try? state.get().version) ?? (try? decoder.decode(Version.self, from: data).version)
    if let version, version > State.currentVersion {
      throw StateError(
        path: path,
        problem: "it is of version \(version); this portmap knows version \(State.currentVersion)"
      )
    }
    do {
      let state = try state.get()
      guard state.tag.map(StateFolder.isTag) ?? true else {
        throw StateError(path: path, problem: "it is damaged: tag: \"\(state.tag ?? "")\" is none")
      }
      if state.intent == nil, data.first == UInt8(ascii: "{") { known = (state, data) }
      return state
    } catch let error as StateError {
      throw error
    } catch {
      throw StateError(
        path: path,
        problem: data.isEmpty ? "it is empty" : "it is damaged: \(Self.words(error))"
      )
    }
  }

  mutating func encode(_ state: State) throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let text = try textWithoutIntent(state, encoder)
    guard let intent = state.intent else { return text }
    return Data("{\"intent\":".utf8) + (try encoder.encode(intent)) + Data(",".utf8) + text.dropFirst()
  }

  private mutating func textWithoutIntent(_ state: State, _ encoder: JSONEncoder) throws -> Data {
    var rest = state
    rest.intent = nil
    if let known, known.state == rest { return known.text }
    let text = try encoder.encode(rest)
    known = (rest, text)
    return text
  }

  private static func words(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "\(error)" }
    switch error {
    case .dataCorrupted(let context), .keyNotFound(_, let context), .typeMismatch(_, let context),
      .valueNotFound(_, let context):
      let place = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(
        separator: "."
      )
      return place.isEmpty ? context.debugDescription : "\(place): \(context.debugDescription)"
    @unknown default: return "\(error)"
    }
  }
}
