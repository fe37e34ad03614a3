import Glibc

private final class Job: Sendable {
  let body: @Sendable () -> Void

  init(_ body: @escaping @Sendable () -> Void) {
    self.body = body
  }
}

/// Runs a conversation beside the others; it ends with the process at the latest.
func inBackground(_ body: @escaping @Sendable () -> Void) {
  let job = Unmanaged.passRetained(Job(body))
  var thread = pthread_t()
  let result = pthread_create(
    &thread,
    nil,
    { argument in
      if let argument { Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().body() }
      return nil
    },
    job.toOpaque()
  )
  if result == 0 { pthread_detach(thread) } else { job.release() }
}
