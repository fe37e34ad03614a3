// What `import Glibc` leaves out of Linux, declared narrowly so that Swift can call it.
// _GNU_SOURCE stays out of this header: with it fd_set differs from the one that Dispatch was built with.

#ifndef CLINUX_H
#define CLINUX_H

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>

// Uses names of <sys/socket.h>.
#include <linux/sctp.h>

#include "clinux_bpf.h"

/// struct mmsghdr of <sys/socket.h>, which only _GNU_SOURCE shows: same layout, so arrays can be handed over.
struct clinux_mmsghdr {
  struct msghdr msg_hdr;
  unsigned int msg_len;
};

/// struct in6_pktinfo of <netinet/in.h>, which only _GNU_SOURCE shows: same layout.
struct clinux_in6_pktinfo {
  struct in6_addr ipi6_addr;
  unsigned int ipi6_ifindex;
};

/// struct ucred: who is at the other end of a Unix socket (SO_PEERCRED).
struct clinux_ucred {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

int clinux_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int clinux_pipe2(int fds[2], int flags);
/// Makes a pipe hold `size` bytes (F_SETPIPE_SZ) and returns what it holds then.
int clinux_set_pipe_size(int fd, int size);
/// splice(2) with SPLICE_F_MOVE and SPLICE_F_NONBLOCK. Not SPLICE_F_MORE: the last bytes must not wait for others.
ssize_t clinux_splice(int in, int out, size_t length);
int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags);
int clinux_sendmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags);
/// A file that lives in memory and goes with its last descriptor (memfd_create(2)), close-on-exec.
int clinux_memory_file(const char *name);
/// Opens a folder to go on from there, which takes no permission to read it (O_PATH); 0 for `follow` refuses a link.
int clinux_open_passage(int folder, const char *name, int follow);
int clinux_pidfd_open(pid_t pid);
int clinux_pidfd_send_signal(int pidfd, int signal);

/// Attaches a classic BPF program that returns 0 for every packet: the socket receives nothing.
int clinux_attach_drop_filter(int fd);
int clinux_detach_filter(int fd);
/// 1 when the socket has a filter, 0 when not (SO_GET_FILTER, socket(7)).
int clinux_has_filter(int fd);

/// The cookie of the calling process's network namespace (SO_NETNS_COOKIE), 0 and errno on failure.
uint64_t clinux_netns_cookie(void);

/// 1 when a descriptor is that of a network namespace, 0 when not.
int clinux_is_network_namespace(int fd);
/// Opens the user namespace that a namespace belongs to, close-on-exec (NS_GET_USERNS, ioctl_nsfs(2)).
int clinux_owner_of_namespace(int fd);
int clinux_enter_network_namespace(int fd);
int clinux_enter_user_namespace(int fd);
/// Keeps others of the same user, and of a user namespace that this process enters, out of its memory and descriptors.
int clinux_set_undumpable(void);

int clinux_peer_credentials(int fd, struct clinux_ucred *credentials);

/// Sends `length` bytes with `count` descriptors (SCM_RIGHTS); at most 253 of them, the kernel's SCM_MAX_FD. Fails with
/// EAGAIN where the other end has no room.
ssize_t clinux_send_descriptors(int fd, const void *bytes, size_t length, const int *descriptors, size_t count);
/// Receives bytes and up to 253 descriptors, close-on-exec; `count` says how many came. Fails with EAGAIN where nothing
/// is there, and, all descriptors closed, with EMSGSIZE when the message did not fit, with EMFILE when this process may
/// not have as many.
ssize_t clinux_receive_descriptors(int fd, void *bytes, size_t length, int *descriptors, size_t *count);

/// The cmsg macros as functions, for walking and filling control messages.
struct cmsghdr *clinux_cmsg_first(struct msghdr *message);
struct cmsghdr *clinux_cmsg_next(struct msghdr *message, struct cmsghdr *header);
void *clinux_cmsg_data(struct cmsghdr *header);
size_t clinux_cmsg_space(size_t length);
size_t clinux_cmsg_length(size_t length);

/// Sees to it that no program started from here on can have a capability, as far as the kernel lets.
void clinux_empty_bounding_set(void);
/// Gives up every effective, permitted, inheritable and ambient capability.
int clinux_drop_capabilities(void);
int clinux_set_no_new_privileges(void);
/// setgroups(0), setresgid, setresuid to the same number: each is tried, and the errno is that of the first that failed.
int clinux_become(uid_t id);
/// 1 when the effective set has the capability, 0 when not.
int clinux_has_capability(int capability);

/// The processor, and the way to call the kernel on it, that this program was built for: AUDIT_ARCH_… of <linux/audit.h>.
extern const uint32_t clinux_architecture;
/// F_SETPIPE_SZ of <fcntl.h>, which only _GNU_SOURCE shows.
extern const int clinux_set_pipe_size_command;
/// Keeps others of the same user out of this process's memory and descriptors (PR_SET_DUMPABLE), and the process from
/// starting others and leaving core dumps (RLIMIT_NPROC and RLIMIT_CORE, 0).
int clinux_close_process(void);
/// Has the kernel ask a classic BPF program about every system call of this process from now on (seccomp(2)).
int clinux_filter_system_calls(const struct sock_filter *instructions, unsigned short count);
/// Writes a line on stderr for every system call that a filter answers with SECCOMP_RET_TRAP, and lets it fail with
/// EPERM.
int clinux_tell_refused_calls(void);

/// Has the kernel send `signal` when the thread ends that started this process (PR_SET_PDEATHSIG); 0 calls it off.
int clinux_set_parent_death_signal(int signal);

/// What ps and ss call this process.
int clinux_set_process_name(const char *name);

/// Starts a program with exactly the descriptors `fds[i]` as 0, 1, 2, … count-1 (8 at most), no signal blocked and
/// SIGPIPE as it is by default. Returns 0 or an errno value.
int clinux_spawn(const char *path, char *const argv[], char *const envp[], const int *fds, int count, pid_t *pid);
/// The same in a session of its own, with `/` as its folder and no signal ignored.
int clinux_spawn_daemon(const char *path, char *const argv[], char *const envp[], const int *fds, int count, pid_t *pid);

/// Notes INT, TERM, HUP and QUIT as they arrive instead of dying of them, without restarting system calls.
int clinux_catch_signals(void);
/// The first of those signals that has arrived, 0 when none has.
int clinux_caught_signal(void);
/// One of those signals that has arrived since the last call, 0 when none has.
int clinux_fresh_signal(void);

/// The first place of some bytes among others, null where they are not there (memmem(3)).
const void *clinux_find(const void *bytes, size_t count, const void *wanted, size_t wanted_count);

/// The variables of this process as they are in memory, byte for byte, with a null pointer at the end.
char **clinux_environment(void);
/// Writes the number of each TERM, INT, HUP, QUIT, USR1 and USR2 that arrives from now on to `fd`, a byte each, but for
/// those that the kernel sent, as it does for a terminal's keys to all that run in it (si_code, sigaction(2)).
int clinux_forward_signals(int fd);
/// Waits for a child to end and fills in its status as wait(2) does.
int clinux_wait(pid_t pid, int *status);
/// Restores the default action of `signal` and raises it.
void clinux_die_of(int signal);
/// Blocks INT and TERM and returns a descriptor that becomes readable when one of them arrives (signalfd(2)).
int clinux_termination_descriptor(void);
/// Blocks INT, TERM and HUP and returns a descriptor that becomes readable when one of them arrives (signalfd(2)).
int clinux_service_signal_descriptor(void);
/// Takes the next signal from such a descriptor; 0 when none is left.
int clinux_next_signal(int fd);
/// Interrupts blocking system calls every `milliseconds` (SIGALRM, no effect of its own); 0 stops that.
int clinux_set_ticks(int milliseconds);

#endif
