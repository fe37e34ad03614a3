// Clients and servers for the checks inside the virtual machine: tcp, udp and one-to-one sctp sockets alike.
//
//   probe serve PROTO ADDR PORT[-END] NAME          returns once it serves; a child answers each message with
//                                                   "NAME PEER LOCAL_PORT MESSAGE", or as "echo" sends it back
//   probe activated NAME                            the same on the sockets of LISTEN_FDS, in the foreground
//                                                   or, when NAME is "told", adds SCTP's stream and payload protocol
//   probe ask PROTO ADDR PORT [-b ADDR[/PORT]] [-t SECONDS] [-w SECONDS] [-s STREAM] [-p PROTOCOL] [MESSAGE...]
//                                                   sends all messages, prints as many answers; with -w one after the
//                                                   other with a pause in between, which SCTP begins with a heartbeat to
//                                                   every address that the peer has named
//   probe bulk PROTO ADDR PORT BYTES SIZE           sends BYTES in messages of SIZE to an echo server and compares
//   probe bind PROTO ADDR PORT                      takes the port as a server would, and lets go
//   probe steal PROTO PORT ADDR...                  tries that on each address with SO_REUSEADDR and without, on IPv6
//                                                   with IPV6_V6ONLY and without, and prints what worked
//
// Exit status: 0 done, 10 refused, 11 silent, 12 closed or reset, 13 unreachable, 14 address in use, 2 usage, 3 other.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sctp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { limit = 1 << 18, most_ports = 64 };

static int transport;  // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP
static char buffer[limit];

static void usage(void) {
  fputs("usage: probe serve|activated|ask|bulk|bind|steal ...\n", stderr);
  exit(2);
}

static void fail(const char *call) {
  int code = errno;
  fprintf(stderr, "%s: %s\n", call, strerror(code));
  switch (code) {
    case ECONNREFUSED: exit(10);
    case EAGAIN: case EINPROGRESS: case ETIMEDOUT: exit(11);
    case ECONNRESET: case EPIPE: case ENOTCONN: case ESHUTDOWN: exit(12);
    case EHOSTUNREACH: case ENETUNREACH: exit(13);
    case EADDRINUSE: exit(14);
    default: exit(3);
  }
}

static void closed(void) {
  fputs("closed without an answer\n", stderr);
  exit(12);
}

static void set(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof value) < 0) fail("setsockopt");
}

struct endpoint {
  int family;
  socklen_t length;
  struct sockaddr_storage address;
};

static struct endpoint resolve(const char *address, const char *port) {
  struct endpoint endpoint = {.family = strchr(address, ':') ? AF_INET6 : AF_INET};
  struct sockaddr_in *v4 = (struct sockaddr_in *)&endpoint.address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&endpoint.address;
  endpoint.address.ss_family = endpoint.family;
  endpoint.length = endpoint.family == AF_INET6 ? sizeof *v6 : sizeof *v4;
  void *bytes = endpoint.family == AF_INET6 ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr;
  if (inet_pton(endpoint.family, address, bytes) != 1) usage();
  v4->sin_port = htons(atoi(port));  // at the same place in both
  return endpoint;
}

static int open_socket(int family) {
  int fd = socket(family, transport == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM, transport);
  if (fd < 0) fail("socket");
  return fd;
}

// The port, and the address as text; an IPv4 peer of a dual-stack socket looks like one of an IPv4 socket.
static int describe(const struct sockaddr_storage *address, char *text) {
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
  const void *bytes = &v4->sin_addr;
  int family = address->ss_family;
  if (family == AF_INET6) {
    bytes = &v6->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
      bytes = &v6->sin6_addr.s6_addr[12];
      family = AF_INET;
    }
  }
  inet_ntop(family, bytes, text, INET6_ADDRSTRLEN);
  return ntohs(v4->sin_port);
}

// The stream and payload protocol of the SCTP message that came last, or of those to be sent (RFC 6458, 5.3.2).
static struct sctp_sndrcvinfo label;

static ssize_t send_message(int fd, const char *bytes, size_t size) {
  if (transport != IPPROTO_SCTP) return send(fd, bytes, size, 0);
  char control[CMSG_SPACE(sizeof label)] = {0};
  struct iovec part = {.iov_base = (char *)bytes, .iov_len = size};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){CMSG_LEN(sizeof label), IPPROTO_SCTP, SCTP_SNDRCV};
  memcpy(CMSG_DATA(header), &label, sizeof label);
  return sendmsg(fd, &message, 0);
}

static void want_labels(int fd) {
  struct sctp_event_subscribe events = {.sctp_data_io_event = 1};
  if (setsockopt(fd, IPPROTO_SCTP, SCTP_EVENTS, &events, sizeof events) < 0) fail("setsockopt");
}

// Receives once; an SCTP message as a whole, as it may come in pieces of which only the last one is marked.
static ssize_t receive(int fd, struct sockaddr_storage *peer, socklen_t *length) {
  ssize_t size = 0;
  for (;;) {
    struct iovec piece = {.iov_base = buffer + size, .iov_len = limit - size};
    char control[CMSG_SPACE(sizeof label)];
    struct msghdr message = {.msg_name = peer, .msg_namelen = sizeof *peer, .msg_iov = &piece, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(fd, &message, 0);
    if (count < 0) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == IPPROTO_SCTP && header->cmsg_type == SCTP_SNDRCV) {
      struct sctp_sndrcvinfo info;
      memcpy(&info, CMSG_DATA(header), sizeof info);
      label = (struct sctp_sndrcvinfo){.sinfo_stream = info.sinfo_stream, .sinfo_ppid = info.sinfo_ppid};
    }
    size += count;
    if (length) *length = message.msg_namelen;
    if (transport != IPPROTO_SCTP || count == 0 || (message.msg_flags & MSG_EOR) || size == limit) return size;
  }
}

// One message in, one answer out. The number of bytes that came, 0 at the end.
static ssize_t answer(int fd, const char *name) {
  static char reply[limit + 256];
  char host[INET6_ADDRSTRLEN];
  struct sockaddr_storage peer, local;
  socklen_t peer_length, length = sizeof local;
  ssize_t count = receive(fd, &peer, &peer_length);
  if (count < 0 || (count == 0 && transport != IPPROTO_UDP)) return count;
  const char *bytes = buffer;
  ssize_t size = count;
  if (strcmp(name, "echo") != 0) {
    if (transport != IPPROTO_UDP) {
      // Receiving tells it for datagrams only.
      peer_length = sizeof peer;
      if (getpeername(fd, (struct sockaddr *)&peer, &peer_length) < 0) return -1;
    }
    if (getsockname(fd, (struct sockaddr *)&local, &length) < 0) return -1;
    int port = describe(&local, host);
    describe(&peer, host);
    size = snprintf(reply, sizeof reply, "%s %s %d %.*s", name, host, port, (int)count, buffer);
    if (strcmp(name, "told") == 0) {
      size += sprintf(reply + size, " stream %d protocol %u", label.sinfo_stream, ntohl(label.sinfo_ppid));
    }
    bytes = reply;
  }
  if (transport == IPPROTO_UDP) {
    sendto(fd, bytes, size, 0, (struct sockaddr *)&peer, peer_length);
    return count;
  }
  while (size > 0) {
    ssize_t sent = send_message(fd, bytes, size);
    if (sent < 0) return -1;
    bytes += sent;
    size -= sent;
  }
  return count;
}

static void serve(struct pollfd *sockets, int count, const char *name) {
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    if (poll(sockets, count, -1) < 0) fail("poll");
    for (int i = 0; i < count; i++) {
      if (sockets[i].revents == 0) continue;
      if (transport == IPPROTO_UDP) {
        answer(sockets[i].fd, name);
        continue;
      }
      int fd = accept(sockets[i].fd, NULL, NULL);
      if (fd < 0) continue;
      if (fork() == 0) {
        if (transport == IPPROTO_SCTP) want_labels(fd);
        while (answer(fd, name) > 0) {}
        exit(0);
      }
      close(fd);
    }
  }
}

// NULL on success, else the call that failed.
static const char *try_listening(int fd, struct endpoint *endpoint, int reuse, int v6only) {
  if (reuse) set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (endpoint->family == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
  if (bind(fd, (struct sockaddr *)&endpoint->address, endpoint->length) < 0) return "bind";
  if (transport != IPPROTO_UDP && listen(fd, 64) < 0) return "listen";
  return NULL;
}

static int listener(const char *address, const char *port) {
  struct endpoint endpoint = resolve(address, port);
  int fd = open_socket(endpoint.family);
  const char *call = try_listening(fd, &endpoint, transport == IPPROTO_TCP, 0);
  if (call) fail(call);
  return fd;
}

static void steal(const char *port, char **addresses, int count) {
  for (int i = 0; i < count; i++) {
    struct endpoint endpoint = resolve(addresses[i], port);
    for (int variant = 0; variant < (endpoint.family == AF_INET6 ? 4 : 2); variant++) {
      int fd = open_socket(endpoint.family), reuse = variant & 1, v6only = variant >> 1;
      const char *call = try_listening(fd, &endpoint, reuse, v6only), *options = reuse ? " reusing" : "";
      if (!call) printf("%s%s%s: taken\n", addresses[i], options, v6only ? " v6only" : "");
      else if (errno != EADDRINUSE) printf("%s%s: %s: %s\n", addresses[i], options, call, strerror(errno));
      close(fd);
    }
  }
}

static void start_serving(const char *address, const char *ports, const char *name) {
  struct pollfd sockets[most_ports];
  char *end, port[8];
  int count = 0;
  long first = strtol(ports, &end, 10), last = *end == '-' ? strtol(end + 1, NULL, 10) : first;
  for (long number = first; number <= last && count < most_ports; number++) {
    snprintf(port, sizeof port, "%ld", number);
    int fd = listener(address, port);
    sockets[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
  if (fork() != 0) exit(0);
  // Whoever waits for the end of this program's output must not wait for the server's.
  setsid();
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  serve(sockets, count, name);
}

static void serve_activated(const char *name) {
  struct pollfd sockets[most_ports];
  const char *number = getenv("LISTEN_FDS"), *process = getenv("LISTEN_PID");
  int count = number && process && atoi(process) == getpid() ? atoi(number) : 0;
  socklen_t length = sizeof transport;
  if (count < 1 || count > most_ports) usage();
  for (int i = 0; i < count; i++) sockets[i] = (struct pollfd){.fd = 3 + i, .events = POLLIN};
  if (getsockopt(3, SOL_SOCKET, SO_PROTOCOL, &transport, &length) < 0) fail("getsockopt");
  serve(sockets, count, name);
}

static int connected(const char *address, const char *port, char *source, double seconds) {
  struct endpoint endpoint = resolve(address, port);
  struct timeval time = {.tv_sec = (long)seconds, .tv_usec = (long)((seconds - (long)seconds) * 1e6)};
  int fd = open_socket(endpoint.family);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
  if (source) {
    char *slash = strchr(source, '/');
    if (slash) *slash = 0;
    struct endpoint own = resolve(source, slash ? slash + 1 : "0");
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, (struct sockaddr *)&own.address, own.length) < 0) fail("bind");
  }
  if (connect(fd, (struct sockaddr *)&endpoint.address, endpoint.length) < 0) fail("connect");
  return fd;
}

static void send_heartbeats(int fd) {
  struct sctp_paddrparams every = {.spp_flags = SPP_HB_DEMAND};
  every.spp_address.ss_family = AF_INET;  // 0.0.0.0
  if (setsockopt(fd, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &every, sizeof every) < 0) fail("setsockopt");
}

static void ask(int count, char **arguments) {
  static char hello[] = "hello";
  char *messages[16] = {hello}, *source = NULL;
  int number = 0, pause = 0;
  double seconds = 4;
  for (int i = 2; i < count && number < 16; i++) {
    if (strcmp(arguments[i], "-b") == 0 && i + 1 < count) source = arguments[++i];
    else if (strcmp(arguments[i], "-t") == 0 && i + 1 < count) seconds = atof(arguments[++i]);
    else if (strcmp(arguments[i], "-w") == 0 && i + 1 < count) pause = atoi(arguments[++i]);
    else if (strcmp(arguments[i], "-s") == 0 && i + 1 < count) label.sinfo_stream = atoi(arguments[++i]);
    else if (strcmp(arguments[i], "-p") == 0 && i + 1 < count) label.sinfo_ppid = htonl(atoi(arguments[++i]));
    else messages[number++] = arguments[i];
  }
  if (number == 0) number = 1;
  struct sockaddr_storage peer;
  int fd = connected(arguments[0], arguments[1], source, seconds);
  for (int sent = 0, received = 0; received < number; received++) {
    if (pause && sent) {
      if (transport == IPPROTO_SCTP) send_heartbeats(fd);
      sleep(pause);
    }
    // All at once, or one for each answer.
    while (sent < (pause ? received + 1 : number)) {
      if (send_message(fd, messages[sent], strlen(messages[sent])) < 0) fail("send");
      sent++;
    }
    ssize_t size = receive(fd, &peer, NULL);
    if (size < 0) fail("recv");
    if (size == 0) closed();
    printf("%.*s\n", (int)size, buffer);
    fflush(stdout);
  }
}

// The pattern has no period that a message's size is a multiple of, so that a lost or repeated one shows.
static char pattern(long position) { return (char)(position * 31 + position / 251); }

// TCP and SCTP.
static void bulk(const char *address, const char *port, long bytes, long size) {
  if (size < 1 || size > limit) usage();
  struct sockaddr_storage peer;
  int fd = connected(address, port, NULL, 20);
  // In a process of its own, or both directions fill up and both sides stop.
  if (fork() == 0) {
    for (long done = 0; done < bytes; done += size) {
      for (long i = 0; i < size; i++) buffer[i] = pattern(done + i);
      for (long sent = 0, now; sent < size; sent += now) {
        now = send_message(fd, buffer + sent, size - sent);
        if (now < 0) fail("send");
      }
    }
    exit(0);
  }
  for (long done = 0; done < bytes;) {
    ssize_t count = receive(fd, &peer, NULL);
    if (count < 0) fail("recv");
    if (count == 0) closed();
    for (long i = 0; i < count; i++) {
      if (buffer[i] != pattern(done + i)) {
        printf("wrong byte at %ld\n", done + i);
        exit(3);
      }
    }
    // Where there are messages, they are as long as they were sent.
    if (transport != IPPROTO_TCP && count != size) printf("message of %zd\n", count);
    done += count;
  }
  printf("echoed %ld\n", bytes);
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  if (count < 3) usage();
  const char *command = arguments[1], *name = arguments[2];
  if (strcmp(command, "activated") == 0) serve_activated(name);
  if (count < 5) usage();
  transport = strcmp(name, "tcp") == 0   ? IPPROTO_TCP
              : strcmp(name, "udp") == 0 ? IPPROTO_UDP
              : strcmp(name, "sctp") == 0 ? IPPROTO_SCTP
                                          : 0;
  if (transport == 0) usage();
  const char *address = arguments[3], *port = arguments[4];
  if (strcmp(command, "serve") == 0 && count == 6) {
    start_serving(address, port, arguments[5]);
  } else if (strcmp(command, "ask") == 0) {
    ask(count - 3, arguments + 3);
  } else if (strcmp(command, "bulk") == 0 && count == 7) {
    bulk(address, port, atol(arguments[5]), atol(arguments[6]));
  } else if (strcmp(command, "bind") == 0) {
    listener(address, port);
  } else if (strcmp(command, "steal") == 0) {
    steal(address, arguments + 4, count - 4);
  } else {
    usage();
  }
  return 0;
}
