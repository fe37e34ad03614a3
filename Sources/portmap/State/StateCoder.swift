import Foundation

/// Turns states into JSON and back.
///
/// Most commands write one state twice, with an intent and without, before rules change and after, and there may be
/// thousands of mappings in it. So what changes between the two, the head, stands before all the rest, whose text is
/// kept: of two keys of one name, by hand perhaps, JSONDecoder takes the first.
struct StateCoder {
  /// The last state but for its head, and its text behind the head.
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
      if let head = try? Self.head(of: state), data.starts(with: head) {
        known = (state.withoutHead, data.dropFirst(head.count))
      }
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
    var data = try Self.head(of: state)
    data.append(try textWithoutHead(state.withoutHead))
    return data
  }

  /// The opening brace and the keys that stand first, each with its comma.
  private static func head(of state: State) throws -> Data {
    var head = "{"
    if let intent = state.intent {
      head += "\"intent\":\(String(decoding: try encoder.encode(intent), as: UTF8.self)),"
    }
    if let generation = state.rulesGeneration { head += "\"rulesGeneration\":\(generation)," }
    var data = Data()
    data.append(contentsOf: Array(head.utf8))
    return data
  }

  private mutating func textWithoutHead(_ state: State) throws -> Data {
    if let known, known.state == state { return known.text }
    let text = try Self.encoder.encode(state).dropFirst()
    known = (state, text)
    return text
  }

  private static var encoder: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return encoder
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

extension State {
  /// The state without what stands at the head of its text.
  fileprivate var withoutHead: State {
    var rest = self
    rest.intent = nil
    rest.rulesGeneration = nil
    return rest
  }
}
