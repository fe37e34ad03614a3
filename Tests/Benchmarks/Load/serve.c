#include "load.h"

#include <fcntl.h>

enum { CHUNK = 256 * 1024, BATCH = 64, DATAGRAM = 2048 };

static int listen_on(int port) {
  // Of both families.
  int fd = socket(AF_INET6, SOCK_STREAM, 0);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (bind(fd, (void *)&address, sizeof address) != 0 || listen(fd, 4096) != 0) die("listen");
  return fd;
}

static void *swallow(void *argument) {
  int fd = (int)(intptr_t)argument;
  // MSG_TRUNC: the bytes are dropped in the kernel, so that this end is not what is measured.
  while (recv(fd, NULL, CHUNK, MSG_TRUNC) > 0) {}
  close(fd);
  return NULL;
}

static void *pour(void *argument) {
  int fd = (int)(intptr_t)argument;
  char *bytes = calloc(1, CHUNK);
  while (send(fd, bytes, CHUNK, MSG_NOSIGNAL) > 0) {}
  free(bytes);
  close(fd);
  return NULL;
}

struct service {
  int port;
  void *(*serve)(void *);
};

static void *accept_all(void *argument) {
  struct service *service = argument;
  int listener = listen_on(service->port);
  while (1) {
    int fd = accept(listener, NULL, NULL);
    pthread_t thread;
    if (fd < 0) continue;
    if (pthread_create(&thread, NULL, service->serve, (void *)(intptr_t)fd) == 0) pthread_detach(thread);
    else close(fd);
  }
  return NULL;
}

static void *echo_streams(void *argument) {
  int listener = listen_on(*(int *)argument);
  fcntl(listener, F_SETFL, O_NONBLOCK);
  int loop = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
  epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
  while (1) {
    int ready = epoll_wait(loop, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int client;
        while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          set_option(client, IPPROTO_TCP, TCP_NODELAY, 1);
          event = (struct epoll_event){.events = EPOLLIN, .data.fd = client};
          epoll_ctl(loop, EPOLL_CTL_ADD, client, &event);
        }
        continue;
      }
      char bytes[4096];
      ssize_t length = recv(fd, bytes, sizeof bytes, 0);
      if (length <= 0) close(fd);
      else send(fd, bytes, length, MSG_NOSIGNAL);
    }
  }
  return NULL;
}

static void echo_datagrams(int port) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (bind(fd, (void *)&address, sizeof address) != 0) die("bind");
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
  set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
  static struct mmsghdr messages[BATCH];
  static struct iovec pieces[BATCH];
  static struct sockaddr_in names[BATCH];
  static char bytes[BATCH][DATAGRAM];
  while (1) {
    for (int i = 0; i < BATCH; i++) {
      pieces[i] = (struct iovec){bytes[i], DATAGRAM};
      messages[i].msg_hdr = (struct msghdr){
        .msg_name = &names[i], .msg_namelen = sizeof names[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    int received = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    for (int i = 0; i < received; i++) pieces[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < received;) {
      int count = sendmmsg(fd, messages + sent, received - sent, 0);
      sent += count > 0 ? count : 1;
    }
  }
}

void serve(int port) {
  static struct service sink, source;
  static int echo;
  sink = (struct service){port, swallow};
  source = (struct service){port + 1, pour};
  echo = port + 2;
  pthread_t thread;
  pthread_create(&thread, NULL, accept_all, &sink);
  pthread_create(&thread, NULL, accept_all, &source);
  pthread_create(&thread, NULL, echo_streams, &echo);
  echo_datagrams(port + 3);
}
