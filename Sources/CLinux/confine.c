#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
const uint32_t clinux_architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
const uint32_t clinux_architecture = AUDIT_ARCH_AARCH64;
#else
#error "no name for this processor in <linux/audit.h> is known here"
#endif

const int clinux_set_pipe_size_command = F_SETPIPE_SZ;

int clinux_close_process(void) {
  struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
  if (setrlimit(RLIMIT_NPROC, &none) != 0 || setrlimit(RLIMIT_CORE, &none) != 0) return -1;
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int clinux_filter_system_calls(const struct sock_filter *instructions, unsigned short count) {
  struct sock_fprog program = {.len = count, .filter = (struct sock_filter *)instructions};
  // All threads at once. What this program computes is nobody's secret but its own: without the second flag, kernels
  // before 5.16 would slow it down to hide its memory from itself.
  long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
  if (result > 0) errno = EBUSY;
  return result == 0 ? 0 : -1;
}

// Writes a number in decimal digits behind `text`, and returns where it ends.
static char *append_number(char *text, unsigned long number) {
  char digits[24];
  int count = 0;
  do digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  while (count > 0) *text++ = digits[--count];
  return text;
}

static void tell(int signal, siginfo_t *information, void *context) {
  (void)signal;
  int saved = errno;
  char line[64] = "portmap: refused system call ";
  char *end = append_number(line + strlen(line), (unsigned long)information->si_syscall);
  *end++ = '\n';
  ssize_t ignored = write(2, line, (size_t)(end - line));
  (void)ignored;
  errno = saved;
  ucontext_t *registers = context;
#if defined(__x86_64__)
  registers->uc_mcontext.gregs[REG_RAX] = -EPERM;
#else
  registers->uc_mcontext.regs[0] = (unsigned long)-EPERM;
#endif
}

int clinux_tell_refused_calls(void) {
  struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
  return sigaction(SIGSYS, &action, NULL);
}
