#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attributes) {
  return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

// The kernel wants to see zeros in whatever a call has no use for.
static union bpf_attr cleared(void) {
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  return attributes;
}

static uint64_t address(const void *pointer) { return (uint64_t)(uintptr_t)pointer; }

int clinux_bpf_make_map(const char *name, uint32_t key_size, uint32_t value_size, uint32_t max_entries) {
  union bpf_attr attributes = cleared();
  attributes.map_type = BPF_MAP_TYPE_HASH;
  attributes.key_size = key_size;
  attributes.value_size = value_size;
  attributes.max_entries = max_entries;
  attributes.map_flags = BPF_F_NO_PREALLOC;
  strncpy(attributes.map_name, name, sizeof attributes.map_name - 1);
  return bpf(BPF_MAP_CREATE, &attributes);
}

int clinux_bpf_load(const char *name, uint32_t hook, const uint64_t *instructions, uint32_t count, char *log,
                    uint32_t log_size) {
  union bpf_attr attributes = cleared();
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  attributes.expected_attach_type = hook;
  attributes.insns = address(instructions);
  attributes.insn_cnt = count;
  attributes.license = address("Apache-2.0");
  strncpy(attributes.prog_name, name, sizeof attributes.prog_name - 1);
  if (log) {
    attributes.log_level = 1;
    attributes.log_buf = address(log);
    attributes.log_size = log_size;
  }
  return bpf(BPF_PROG_LOAD, &attributes);
}

int clinux_bpf_attach(int cgroup, uint32_t hook, int program, int replaced) {
  union bpf_attr attributes = cleared();
  attributes.target_fd = (uint32_t)cgroup;
  attributes.attach_bpf_fd = (uint32_t)program;
  attributes.attach_type = hook;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (replaced >= 0) {
    attributes.attach_flags |= BPF_F_REPLACE;
    attributes.replace_bpf_fd = (uint32_t)replaced;
  }
  return bpf(BPF_PROG_ATTACH, &attributes);
}

int clinux_bpf_detach(int cgroup, uint32_t hook, int program) {
  union bpf_attr attributes = cleared();
  attributes.target_fd = (uint32_t)cgroup;
  attributes.attach_bpf_fd = (uint32_t)program;
  attributes.attach_type = hook;
  return bpf(BPF_PROG_DETACH, &attributes);
}

int clinux_bpf_query(int cgroup, uint32_t hook, uint32_t *flags, uint32_t *identifiers, uint32_t *count) {
  union bpf_attr attributes = cleared();
  attributes.query.target_fd = (uint32_t)cgroup;
  attributes.query.attach_type = hook;
  attributes.query.prog_ids = address(identifiers);
  attributes.query.prog_cnt = *count;
  int result = bpf(BPF_PROG_QUERY, &attributes);
  *flags = attributes.query.attach_flags;
  *count = attributes.query.prog_cnt;
  return result;
}

int clinux_bpf_open_program(uint32_t identifier) {
  union bpf_attr attributes = cleared();
  attributes.prog_id = identifier;
  return bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
}

int clinux_bpf_open_map(uint32_t identifier) {
  union bpf_attr attributes = cleared();
  attributes.map_id = identifier;
  return bpf(BPF_MAP_GET_FD_BY_ID, &attributes);
}

static int describe(int fd, void *information, size_t size) {
  union bpf_attr attributes = cleared();
  attributes.info.bpf_fd = (uint32_t)fd;
  attributes.info.info = address(information);
  attributes.info.info_len = (uint32_t)size;
  return bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
}

int clinux_bpf_describe_program(int program, char name[BPF_OBJ_NAME_LEN], uint32_t maps[2]) {
  struct bpf_prog_info information;
  memset(&information, 0, sizeof information);
  memset(maps, 0, 2 * sizeof *maps);
  information.nr_map_ids = 2;
  information.map_ids = address(maps);
  int result = describe(program, &information, sizeof information);
  memcpy(name, information.name, BPF_OBJ_NAME_LEN);
  return result;
}

int clinux_bpf_describe_map(int map, char name[BPF_OBJ_NAME_LEN], uint32_t *key_size, uint32_t *value_size) {
  struct bpf_map_info information;
  memset(&information, 0, sizeof information);
  int result = describe(map, &information, sizeof information);
  memcpy(name, information.name, BPF_OBJ_NAME_LEN);
  *key_size = information.key_size;
  *value_size = information.value_size;
  return result;
}

static int batch(int command, int map, const void *keys, const void *values, uint32_t *count) {
  union bpf_attr attributes = cleared();
  attributes.batch.map_fd = (uint32_t)map;
  attributes.batch.keys = address(keys);
  attributes.batch.values = address(values);
  attributes.batch.count = *count;
  int result = bpf(command, &attributes);
  *count = attributes.batch.count;
  return result;
}

int clinux_bpf_update(int map, const void *keys, const void *values, uint32_t *count) {
  return batch(BPF_MAP_UPDATE_BATCH, map, keys, values, count);
}

int clinux_bpf_delete(int map, const void *keys, uint32_t *count) {
  return batch(BPF_MAP_DELETE_BATCH, map, keys, NULL, count);
}

int clinux_bpf_read(int map, const void *in, void *out, void *keys, void *values, uint32_t *count) {
  union bpf_attr attributes = cleared();
  attributes.batch.map_fd = (uint32_t)map;
  attributes.batch.in_batch = address(in);
  attributes.batch.out_batch = address(out);
  attributes.batch.keys = address(keys);
  attributes.batch.values = address(values);
  attributes.batch.count = *count;
  int result = bpf(BPF_MAP_LOOKUP_BATCH, &attributes);
  *count = attributes.batch.count;
  return result;
}

int clinux_open_cgroups(const char *options) {
  int context = (int)syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  int mount = -1, root = -1, failed = 0;
  for (const char *option = options; *option && !failed; option += strlen(option) + 1)
    failed = syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, option, NULL, 0) != 0;
  if (!failed && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
  if (mount >= 0) root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int saved = errno;
  if (mount >= 0) close(mount);
  close(context);
  errno = saved;
  return root;
}

int clinux_is_in_cgroups(int fd) {
  struct statfs status;
  return fstatfs(fd, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}
