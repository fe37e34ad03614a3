extension Workspace {
  /// Whether nobody but portmap has touched a rule since the state was written.
  var areRulesUntouched: Bool { state.chains.isEmpty }

  func changeRules<Result>(_ body: () throws -> Result) rethrows -> Result { try body() }
}
