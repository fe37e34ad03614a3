// The load generator of the benchmarks: servers behind what is measured, clients in front of it.

#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/// What one measurement is to do.
struct job {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } address;
  socklen_t length;
  double seconds;
  /// Streams, connections or sources.
  int count;
  /// Bytes of a datagram.
  int size;
  /// Datagrams a second, 0 for a closed loop, -1 for as many as can be sent.
  double rate;
  /// The processes whose CPU time counts.
  const char *pids;
};

/// Serves for ever: `port` swallows, the next one sends, the next echoes tcp, the next udp.
void serve(int port);
void measure_bulk(const struct job *job, int is_upload);
void measure_requests(const struct job *job, int reconnects);
void measure_datagrams(const struct job *job);

double now(void);
/// CPU seconds of all threads of these processes (`12,13`) and of their children, those that have ended too.
double cpu_seconds(const char *pids);
void die(const char *what);
void set_option(int fd, int level, int option, int value);

#endif
