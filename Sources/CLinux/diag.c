#define _GNU_SOURCE
#include "clinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/btf.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// The types of the map's key and value, as a kernel wants to know them of a map of this kind (BTF, the kernel's
// Documentation/bpf/btf.rst): a signed int of 32 bits and an unsigned one of 64.
static int load_types(void) {
  static const char names[] = "\0key\0value";
  struct {
    struct btf_header header;
    struct btf_type key;
    uint32_t key_bits;
    struct btf_type value;
    uint32_t value_bits;
    char names[sizeof names];
  } types = {
      .header = {.magic = BTF_MAGIC,
                 .version = BTF_VERSION,
                 .hdr_len = sizeof(struct btf_header),
                 .type_len = 2 * (sizeof(struct btf_type) + sizeof(uint32_t)),
                 .str_off = 2 * (sizeof(struct btf_type) + sizeof(uint32_t)),
                 .str_len = sizeof names},
      .key = {.name_off = 1, .info = BTF_KIND_INT << 24, .size = 4},
      .key_bits = BTF_INT_SIGNED << 24 | 32,
      .value = {.name_off = 5, .info = BTF_KIND_INT << 24, .size = 8},
      .value_bits = 64,
  };
  memcpy(types.names, names, sizeof names);
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.btf = (uint64_t)(uintptr_t)&types;
  attributes.btf_size = sizeof types.header + types.header.type_len + types.header.str_len;
  return (int)syscall(SYS_bpf, BPF_BTF_LOAD, &attributes, sizeof attributes);
}

int clinux_bpf_make_socket_map(const char *name) {
  int types = load_types();
  if (types < 0) return -1;
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_type = BPF_MAP_TYPE_SK_STORAGE;
  attributes.key_size = 4;
  attributes.value_size = 8;
  attributes.map_flags = BPF_F_NO_PREALLOC;
  attributes.btf_fd = (uint32_t)types;
  attributes.btf_key_type_id = 1;
  attributes.btf_value_type_id = 2;
  strncpy(attributes.map_name, name, sizeof attributes.map_name - 1);
  int map = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
  int saved = errno;
  close(types);
  errno = saved;
  return map;
}

struct request {
  struct nlmsghdr header;
  struct inet_diag_req_v2 body;
  struct nlattr storages;
  struct nlattr map;
  uint32_t fd;
};

static int ask(int netlink, struct request *request, unsigned short type, unsigned short flags, size_t length) {
  request->header =
      (struct nlmsghdr){.nlmsg_len = length, .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags};
  return send(netlink, request, length, 0) < 0 ? -1 : 0;
}

// The value that the map has of a socket; 0 where it has none.
static uint64_t value_of(const struct nlmsghdr *message) {
  const char *end = (const char *)message + message->nlmsg_len;
  const char *place = (const char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct inet_diag_msg));
  const uint16_t path[] = {INET_DIAG_SK_BPF_STORAGES, SK_DIAG_BPF_STORAGE, SK_DIAG_BPF_STORAGE_MAP_VALUE};
  size_t depth = 0;
  while (place + sizeof(struct nlattr) <= end) {
    struct nlattr attribute;
    memcpy(&attribute, place, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || place + attribute.nla_len > end) return 0;
    if ((attribute.nla_type & NLA_TYPE_MASK) != path[depth]) {
      place += NLA_ALIGN(attribute.nla_len);
      continue;
    }
    end = place + attribute.nla_len;
    place += NLA_HDRLEN;
    if (++depth < 3) continue;
    uint64_t value = 0;
    if (end - place >= (ptrdiff_t)sizeof value) memcpy(&value, place, sizeof value);
    return value;
  }
  return 0;
}

static int is_led(const struct nlmsghdr *message, const struct clinux_led *led, size_t count) {
  const struct inet_diag_msg *socket = NLMSG_DATA(message);
  uint64_t port = value_of(message);
  uint8_t backend[16] = {[10] = 0xFF, [11] = 0xFF};
  if (port == 0) return 0;
  if (socket->idiag_family == AF_INET) memcpy(backend + 12, socket->id.idiag_dst, 4);
  else memcpy(backend, socket->id.idiag_dst, 16);
  for (size_t i = 0; i < count; i++) {
    if (led[i].port == port && led[i].backend_port == socket->id.idiag_dport &&
        memcmp(led[i].backend, backend, sizeof backend) == 0)
      return 1;
  }
  return 0;
}

// Ends what is led of one family. A socket that ends by itself meanwhile is no mistake.
static int end_family(int netlink, int ending, uint8_t family, int map, const struct clinux_led *led, size_t count) {
  static char buffer[1 << 16];
  struct request request = {
      .body = {.sdiag_family = family,
               .sdiag_protocol = IPPROTO_TCP,
               .idiag_states = ~(1u << TCP_LISTEN | 1u << TCP_TIME_WAIT | 1u << TCP_CLOSE)},
      .storages = {.nla_len = 2 * NLA_HDRLEN + sizeof(uint32_t),
                   .nla_type = NLA_F_NESTED | INET_DIAG_REQ_SK_BPF_STORAGES},
      .map = {.nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = SK_DIAG_BPF_STORAGE_REQ_MAP_FD},
      .fd = (uint32_t)map,
  };
  if (ask(netlink, &request, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sizeof request) != 0) return -1;
  for (;;) {
    ssize_t size = recv(netlink, buffer, sizeof buffer, 0);
    if (size < 0) return -1;
    struct nlmsghdr *message = (struct nlmsghdr *)buffer;
    for (int rest = (int)size; NLMSG_OK(message, (unsigned)rest); message = NLMSG_NEXT(message, rest)) {
      if (message->nlmsg_type == NLMSG_DONE) return 0;
      if (message->nlmsg_type == NLMSG_ERROR) {
        errno = -((struct nlmsgerr *)NLMSG_DATA(message))->error;
        return -1;
      }
      if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY || !is_led(message, led, count)) continue;
      const struct inet_diag_msg *socket = NLMSG_DATA(message);
      struct request end = {.body = {.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .id = socket->id}};
      if (ask(ending, &end, SOCK_DESTROY, 0, offsetof(struct request, storages)) != 0) return -1;
    }
  }
}

int clinux_end_connections(int map, const struct clinux_led *led, size_t count) {
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  int ending = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  int result = netlink < 0 || ending < 0 ? -1 : end_family(netlink, ending, AF_INET, map, led, count);
  if (result == 0) result = end_family(netlink, ending, AF_INET6, map, led, count);
  int saved = errno;
  if (netlink >= 0) close(netlink);
  if (ending >= 0) close(ending);
  errno = saved;
  return result;
}
