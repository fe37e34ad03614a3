// The calls of bpf(2) that a program on connect(2) takes, each with just the attributes that it needs, and the root of
// the cgroups (version 2) that such a program is attached to. All calls return -1 and errno on failure.

#ifndef CLINUX_BPF_H
#define CLINUX_BPF_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

// Where the fields stand that a program on connect(2) reads and writes: Swift does not see through the union in the one
// structure and the unnamed bits in the other.
enum {
  clinux_sock_addr_user_ip4 = offsetof(struct bpf_sock_addr, user_ip4),
  clinux_sock_addr_user_ip6 = offsetof(struct bpf_sock_addr, user_ip6),
  clinux_sock_addr_user_port = offsetof(struct bpf_sock_addr, user_port),
  clinux_sock_addr_protocol = offsetof(struct bpf_sock_addr, protocol),
  clinux_sock_addr_sk = offsetof(struct bpf_sock_addr, sk),
  clinux_sock_bound_dev_if = offsetof(struct bpf_sock, bound_dev_if),
  clinux_sock_src_ip4 = offsetof(struct bpf_sock, src_ip4),
  clinux_sock_src_ip6 = offsetof(struct bpf_sock, src_ip6),
};

// The number of a helper function, from an enumeration that macros build.
enum {
  clinux_bpf_map_lookup_elem = BPF_FUNC_map_lookup_elem,
  clinux_bpf_get_netns_cookie = BPF_FUNC_get_netns_cookie,
  clinux_bpf_sk_storage_get = BPF_FUNC_sk_storage_get,
};

/// The longest name of a program or map, with the zero at its end (BPF_OBJ_NAME_LEN).
enum { clinux_bpf_name_length = BPF_OBJ_NAME_LEN };

/// Makes a hash map whose entries take memory only once they are there (BPF_F_NO_PREALLOC).
int clinux_bpf_make_map(const char *name, uint32_t key_size, uint32_t value_size, uint32_t max_entries);
/// Makes a map that has 8 bytes for each socket that a program gives some, for as long as the socket is there.
int clinux_bpf_make_socket_map(const char *name);
/// Loads a program of type BPF_PROG_TYPE_CGROUP_SOCK_ADDR; the verifier's words go to `log` where there is one.
int clinux_bpf_load(const char *name, uint32_t hook, const uint64_t *instructions, uint32_t count, char *log,
                    uint32_t log_size);
/// Attaches a program to a cgroup beside others (BPF_F_ALLOW_MULTI), or in the place of `replaced` where that is not -1.
int clinux_bpf_attach(int cgroup, uint32_t hook, int program, int replaced);
int clinux_bpf_detach(int cgroup, uint32_t hook, int program);
/// The identifiers of the programs that are attached to a cgroup itself, and how others may be attached beside them;
/// `count` is the room for them, and how many there are.
int clinux_bpf_query(int cgroup, uint32_t hook, uint32_t *flags, uint32_t *identifiers, uint32_t *count);

int clinux_bpf_open_program(uint32_t identifier);
int clinux_bpf_open_map(uint32_t identifier);
/// A program's name, and the identifiers of the first two of its maps, 0 where there are none.
int clinux_bpf_describe_program(int program, char name[BPF_OBJ_NAME_LEN], uint32_t maps[2]);
int clinux_bpf_describe_map(int map, char name[BPF_OBJ_NAME_LEN], uint32_t *key_size, uint32_t *value_size);

/// Sets or deletes `count` entries, and says in `count` how many it has done when it fails.
int clinux_bpf_update(int map, const void *keys, const void *values, uint32_t *count);
int clinux_bpf_delete(int map, const void *keys, uint32_t *count);
/// Reads entries from where the last call has stopped, at first with NULL for `in`; fails with ENOENT behind the last one.
int clinux_bpf_read(int map, const void *in, void *out, void *keys, void *values, uint32_t *count);

/// Connections that were led: where to, in IPv6 form and network order, and from which port instead.
struct clinux_led {
  uint8_t backend[16];
  uint16_t backend_port;
  uint16_t port;
};

/// Ends those TCP connections of this network namespace for which a map of sockets has one of these ports (SOCK_DESTROY,
/// sock_diag(7)).
int clinux_end_connections(int map, const struct clinux_led *led, size_t count);

/// The root of the hierarchy of control groups, version 2, where no mount shows it; closed by whoever called.
///
/// - options: Its mount options, each with a zero at its end, and another zero behind the last: a new mount sets them
///   anew for all.
int clinux_open_cgroups(const char *options);
/// 1 where a file is in that hierarchy, 0 where not.
int clinux_is_in_cgroups(int fd);

#endif
