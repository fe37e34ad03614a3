@testable import portmap

/// Keeps what a test needs until it is over: a property of its suite, of which every test has an instance of its own.
final class Keeper {
  private var things: [Any] = []

  @discardableResult
  func callAsFunction<Thing>(_ thing: Thing) -> Thing {
    things.append(thing)
    return thing
  }
}

/// Returns a loopback address that neither another test nor anything else on this machine uses, so that its ports are
/// free.
func ownLoopbackAddress() -> IPAddress { IPAddress(v4: 0x7F40_0000 | .random(in: 1...0x3F_FFFE)) }
