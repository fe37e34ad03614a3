#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

_Static_assert(sizeof(struct clinux_mmsghdr) == sizeof(struct mmsghdr), "struct mmsghdr has another layout");
_Static_assert(sizeof(struct clinux_in6_pktinfo) == sizeof(struct in6_pktinfo), "struct in6_pktinfo has another layout");
_Static_assert(sizeof(struct clinux_ucred) == sizeof(struct ucred), "struct ucred has another layout");

enum { max_descriptors = 253 };

/// Swift's runtime finds the program and its arguments through /proc, before main begins and before this program has
/// a say, and aborts without it. The priority has this run earlier.
__attribute__((constructor(101))) static void expect_proc(void) {
  static const char complaint[] = "portmap: /proc is not mounted, or does not show this process\n"
                                  "hint: mount -t proc proc /proc\n";
  char start;
  if (readlink("/proc/self/exe", &start, 1) >= 0) return;
  // Where even that is impossible there is nobody left to tell.
  ssize_t written = write(STDERR_FILENO, complaint, sizeof complaint - 1);
  (void)written;
  _exit(1);
}

int clinux_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
  return accept4(fd, address, length, flags);
}

int clinux_pipe2(int fds[2], int flags) { return pipe2(fds, flags); }

int clinux_set_pipe_size(int fd, int size) { return fcntl(fd, F_SETPIPE_SZ, size); }

ssize_t clinux_splice(int in, int out, size_t length) {
  return splice(in, NULL, out, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags) {
  return recvmmsg(fd, (struct mmsghdr *)messages, count, flags, NULL);
}

int clinux_sendmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags) {
  return sendmmsg(fd, (struct mmsghdr *)messages, count, flags);
}

int clinux_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

int clinux_open_passage(int folder, const char *name, int follow) {
  return openat(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
}

int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_pidfd_send_signal(int pidfd, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int clinux_attach_drop_filter(int fd) {
  struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog program = {.len = 1, .filter = &drop};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

int clinux_detach_filter(int fd) {
  int unused = 0;
  return setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
}

int clinux_has_filter(int fd) {
  // The length is that of the program in instructions; without room for any the kernel just tells it.
  socklen_t length = 0;
  return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &length) == 0 && length > 0;
}

uint64_t clinux_netns_cookie(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  int result = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length);
  int saved = errno;
  close(fd);
  errno = saved;
  return result == 0 ? cookie : 0;
}

int clinux_peer_credentials(int fd, struct clinux_ucred *credentials) {
  socklen_t length = sizeof *credentials;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, &length);
}

ssize_t clinux_send_descriptors(int fd, const void *bytes, size_t length, const int *descriptors, size_t count) {
  union {
    char space[CMSG_SPACE(sizeof(int) * max_descriptors)];
    struct cmsghdr align;
  } control;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > max_descriptors) {
    errno = EINVAL;
    return -1;
  }
  if (count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.space;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t clinux_receive_descriptors(int fd, void *bytes, size_t length, int *descriptors, size_t *count) {
  union {
    char space[CMSG_SPACE(sizeof(int) * max_descriptors)];
    struct cmsghdr align;
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = length};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  *count = 0;
  ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (received < 0) return received;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    *count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(descriptors, CMSG_DATA(header), *count * sizeof(int));
  }
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
    for (size_t i = 0; i < *count; i++) close(descriptors[i]);
    *count = 0;
    // There is space for all that one message can carry: what was cut off had no free number here.
    errno = message.msg_flags & MSG_CTRUNC ? EMFILE : EMSGSIZE;
    return -1;
  }
  return received;
}

struct cmsghdr *clinux_cmsg_first(struct msghdr *message) { return CMSG_FIRSTHDR(message); }
struct cmsghdr *clinux_cmsg_next(struct msghdr *message, struct cmsghdr *header) {
  return CMSG_NXTHDR(message, header);
}
void *clinux_cmsg_data(struct cmsghdr *header) { return CMSG_DATA(header); }
size_t clinux_cmsg_space(size_t length) { return CMSG_SPACE(length); }
size_t clinux_cmsg_length(size_t length) { return CMSG_LEN(length); }

void clinux_empty_bounding_set(void) {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

int clinux_drop_capabilities(void) {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2];
  memset(none, 0, sizeof none);
  return (int)syscall(SYS_capset, &header, none);
}

int clinux_set_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

int clinux_become(uid_t id) {
  int first = 0;
  if (setgroups(0, NULL) != 0) first = errno;
  if (setresgid(id, id, id) != 0 && !first) first = errno;
  if (setresuid(id, id, id) != 0 && !first) first = errno;
  errno = first;
  return first ? -1 : 0;
}

int clinux_has_capability(int capability) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  memset(data, 0, sizeof data);
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return (data[capability / 32].effective >> (capability % 32)) & 1;
}

int clinux_is_network_namespace(int fd) {
  struct statfs status;
  // An ioctl of another kind of file could mean anything.
  if (fstatfs(fd, &status) != 0 || status.f_type != NSFS_MAGIC) return 0;
  return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

int clinux_owner_of_namespace(int fd) { return ioctl(fd, NS_GET_USERNS); }

int clinux_enter_network_namespace(int fd) { return setns(fd, CLONE_NEWNET); }

int clinux_enter_user_namespace(int fd) { return setns(fd, CLONE_NEWUSER); }

int clinux_set_undumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

int clinux_set_parent_death_signal(int signal) { return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0); }

int clinux_set_process_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

enum { max_spawned_descriptors = 8 };

static int spawn(const char *path, char *const argv[], char *const envp[], const int *fds, int count, int is_daemon,
                 pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, defaults;
  sigemptyset(&none);
  if (is_daemon) {
    sigfillset(&defaults);
  } else {
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
  }
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (is_daemon ? POSIX_SPAWN_SETSID : 0);
  int error = posix_spawnattr_setflags(&attributes, flags);
  if (!error) error = posix_spawnattr_setsigdefault(&attributes, &defaults);
  if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
  // The sources are moved out of the way first: one of them may be a number that is yet to be filled.
  int moved[max_spawned_descriptors];
  int moved_count = 0;
  if (!error && count > max_spawned_descriptors) error = EINVAL;
  while (!error && moved_count < count) {
    moved[moved_count] = fcntl(fds[moved_count], F_DUPFD_CLOEXEC, count);
    if (moved[moved_count] < 0) {
      error = errno;
    } else {
      error = posix_spawn_file_actions_adddup2(&actions, moved[moved_count], moved_count);
      moved_count++;
    }
  }
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, count);
  if (!error && is_daemon) error = posix_spawn_file_actions_addchdir_np(&actions, "/");
  if (!error) error = posix_spawn(pid, path, &actions, &attributes, argv, envp);
  while (moved_count > 0) close(moved[--moved_count]);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return error;
}

int clinux_spawn(const char *path, char *const argv[], char *const envp[], const int *fds, int count, pid_t *pid) {
  return spawn(path, argv, envp, fds, count, 0, pid);
}

int clinux_spawn_daemon(const char *path, char *const argv[], char *const envp[], const int *fds, int count,
                        pid_t *pid) {
  return spawn(path, argv, envp, fds, count, 1, pid);
}

static volatile sig_atomic_t caught;
static volatile sig_atomic_t fresh;

static void note(int signal) {
  if (!caught) caught = signal;
  fresh = signal;
}

static int signal_descriptor(const int *signals, size_t count) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < count; i++) sigaddset(&set, signals[i]);
  if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return -1;
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int clinux_termination_descriptor(void) {
  static const int signals[] = {SIGINT, SIGTERM};
  return signal_descriptor(signals, 2);
}

int clinux_service_signal_descriptor(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
  return signal_descriptor(signals, 3);
}

int clinux_next_signal(int fd) {
  struct signalfd_siginfo information;
  ssize_t count;
  do count = read(fd, &information, sizeof information);
  while (count < 0 && errno == EINTR);
  return count == sizeof information ? (int)information.ssi_signo : 0;
}

static void tick(int signal) { (void)signal; }

int clinux_catch_signals(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    struct sigaction current;
    if (sigaction(signals[i], NULL, &current) != 0) return -1;
    if (current.sa_handler == SIG_IGN) continue;  // nohup, or a shell's background job: stays ignored
    struct sigaction action = {.sa_handler = note};
    if (sigaction(signals[i], &action, NULL) != 0) return -1;
  }
  return 0;
}

int clinux_caught_signal(void) { return caught; }

int clinux_fresh_signal(void) { return __atomic_exchange_n(&fresh, 0, __ATOMIC_RELAXED); }

char **clinux_environment(void) { return environ; }

static volatile sig_atomic_t forward_to = -1;

static void forward(int signal, siginfo_t *information, void *context) {
  (void)context;
  if (information->si_code == SI_KERNEL) return;
  int saved = errno;
  unsigned char number = (unsigned char)signal;
  ssize_t ignored = write(forward_to, &number, 1);
  (void)ignored;
  errno = saved;
}

int clinux_forward_signals(int fd) {
  static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
  forward_to = fd;
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
    if (sigaction(signals[i], &action, NULL) != 0) return -1;
  }
  return 0;
}

const void *clinux_find(const void *bytes, size_t count, const void *wanted, size_t wanted_count) {
  return memmem(bytes, count, wanted, wanted_count);
}

int clinux_wait(pid_t pid, int *status) {
  pid_t result;
  do result = waitpid(pid, status, 0);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -1 : 0;
}

void clinux_die_of(int signal) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigset_t set;
  sigaction(signal, &action, NULL);
  sigemptyset(&set);
  sigaddset(&set, signal);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  raise(signal);
}

int clinux_set_ticks(int milliseconds) {
  struct sigaction action = {.sa_handler = milliseconds ? tick : SIG_DFL};
  struct timeval interval = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
  struct itimerval timer = {.it_interval = interval, .it_value = interval};
  if (milliseconds && sigaction(SIGALRM, &action, NULL) != 0) return -1;
  if (setitimer(ITIMER_REAL, &timer, NULL) != 0) return -1;
  return milliseconds ? 0 : sigaction(SIGALRM, &action, NULL);
}
