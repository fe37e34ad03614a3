// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [.unsafeFlags(["-warnings-as-errors"])]

let package = Package(
  name: "portmap",
  targets: [
    .target(name: "CLinux"),
    .executableTarget(name: "portmap", dependencies: ["CLinux"], swiftSettings: strict),
    .testTarget(name: "PortmapTests", dependencies: ["portmap"], swiftSettings: strict),
    .testTarget(name: "IntegrationTests", dependencies: ["CLinux"], swiftSettings: strict),
    .executableTarget(name: "probe", dependencies: ["CLinux"], path: "Tests/Probe", swiftSettings: strict),
    .executableTarget(name: "load", path: "Tests/Benchmarks/Load"),
  ],
  swiftLanguageModes: [.v6]
)
