// Programs of others on connect(2) in the root cgroup, and of other versions of portmap; they do nothing.
//
// usage: hook attach NAME [exclusive]   attach one beside others, or so that there can be no other
//        hook replace NAME              put one, with the map of portmap's, in the place of portmap's for IPv4
//        hook detach NAME
//        hook list                      the names of those for IPv4 and for IPv6
#define _GNU_SOURCE
#include "clinux.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int root;

// r1 = map; r0 = 1; exit. Without a map the first two are `r1 = 0`.
static int load(const char *name, uint32_t hook, int map) {
  uint64_t program[] = {0x1118ULL, 0, 0x1000000b7ULL, 0x95};
  if (map >= 0) {
    program[0] |= (uint64_t)(uint32_t)map << 32;
  } else {
    program[0] = program[1] = 0x1b7ULL;
  }
  int fd = clinux_bpf_load(name, hook, program, 4, NULL, 0);
  if (fd < 0) fail("load");
  return fd;
}

// The program whose name begins so, and the identifiers of its maps.
static int find(uint32_t hook, const char *prefix, uint32_t maps[2]) {
  uint32_t identifiers[64], count = 64, flags;
  if (clinux_bpf_query(root, hook, &flags, identifiers, &count) != 0) fail("query");
  for (uint32_t i = 0; i < count; i++) {
    char name[BPF_OBJ_NAME_LEN];
    int fd = clinux_bpf_open_program(identifiers[i]);
    if (fd < 0 || clinux_bpf_describe_program(fd, name, maps) != 0) fail("describe");
    if (strncmp(name, prefix, strlen(prefix)) == 0) return fd;
    close(fd);
  }
  return -1;
}

static void list(uint32_t hook) {
  uint32_t identifiers[64], count = 64, flags, maps[2];
  if (clinux_bpf_query(root, hook, &flags, identifiers, &count) != 0) fail("query");
  for (uint32_t i = 0; i < count; i++) {
    char name[BPF_OBJ_NAME_LEN];
    int fd = clinux_bpf_open_program(identifiers[i]);
    if (fd < 0 || clinux_bpf_describe_program(fd, name, maps) != 0) fail("describe");
    printf("%s ", name);
    close(fd);
  }
}

int main(int count, char **words) {
  static const uint32_t hooks[] = {BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET6_CONNECT};
  if (count < 2) return 2;
  root = clinux_open_cgroups("");
  if (root < 0) fail("cgroup2");
  uint32_t maps[2];
  if (strcmp(words[1], "list") == 0) {
    for (int i = 0; i < 2; i++) list(hooks[i]);
    printf("\n");
  } else if (strcmp(words[1], "replace") == 0 && count == 3) {
    int old = find(hooks[0], "portmap4_r", maps);
    if (old < 0) fail("find");
    int program = load(words[2], hooks[0], clinux_bpf_open_map(maps[0]));
    if (clinux_bpf_attach(root, hooks[0], program, old) != 0) fail("attach");
  } else if (strcmp(words[1], "attach") == 0 && count >= 3) {
    for (int i = 0; i < 2; i++) {
      int program = load(words[2], hooks[i], -1);
      union bpf_attr attributes;
      memset(&attributes, 0, sizeof attributes);
      attributes.target_fd = (uint32_t)root;
      attributes.attach_bpf_fd = (uint32_t)program;
      attributes.attach_type = hooks[i];
      attributes.attach_flags = count > 3 ? 0 : BPF_F_ALLOW_MULTI;
      if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes) != 0) fail("attach");
    }
  } else if (strcmp(words[1], "detach") == 0 && count == 3) {
    for (int i = 0; i < 2; i++) {
      int program = find(hooks[i], words[2], maps);
      if (program >= 0 && clinux_bpf_detach(root, hooks[i], program) != 0) fail("detach");
    }
  } else {
    return 2;
  }
  return 0;
}
