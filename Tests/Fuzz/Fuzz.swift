import Foundation

// libFuzzer's entry. One program for all readers: FUZZ_TARGET says which of them this run is for.
//
// That it finds what there is to find was shown once, with two bugs made for the purpose. Subnet.init without its check
// of the prefix length: found by `grammar` as 2.16.42.1/242 after 8,400 inputs, in one second. ForeignRules.value
// without looking whether a word follows the option: found by `rules` as a rule that ends in -j after 10,126 inputs,
// in 45 seconds.

private let target: FuzzTarget = {
  let name = ProcessInfo.processInfo.environment["FUZZ_TARGET"] ?? ""
  guard let target = FuzzTarget(rawValue: name) else {
    let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: " ")
    fatalError("FUZZ_TARGET is '\(name)', but should be one of: \(names)")
  }
  return target
}()

/// One input for the reader that this run is for.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  target.read(Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}
