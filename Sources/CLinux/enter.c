#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Root enters the network namespace alone. Others enter first the user namespace that it belongs to, which is theirs
// (user_namespaces(7)); one's own cannot be entered again (EINVAL), and need not be.
int clinux_enter_network(int network) {
  if (setns(network, CLONE_NEWNET) == 0) return 0;
  int refusal = errno;
  int owner = ioctl(network, NS_GET_USERNS);
  if (owner < 0) {
    errno = refusal;
    return -1;
  }
  int result = setns(owner, CLONE_NEWUSER);
  refusal = errno;
  close(owner);
  errno = refusal;
  return result == 0 ? setns(network, CLONE_NEWNET) : -1;
}
