import Glibc

/// A file of declarations that cannot be read, or is not to be trusted.
struct DeclarationFileError: Error {
  let path: String
  let problem: String
  var isPermission = false

  init(path: String, problem: String) {
    self.path = path
    self.problem = problem
  }

  init(path: String, _ error: SystemError) {
    self.path = path
    problem = error.reason
    isPermission = error.errno == EACCES || error.errno == EPERM
  }
}
