#include "load.h"

enum { CHUNK = 256 * 1024, MOST_STREAMS = 64, MOST_DESCRIPTORS = 65536, MOST_SAMPLES = 4000000 };

struct stream {
  const struct job *job;
  int is_upload;
  /// On a cache line of its own.
  _Alignas(64) volatile uint64_t bytes;
};

static void *move(void *argument) {
  struct stream *stream = argument;
  int fd = socket(stream->job->address.any.sa_family, SOCK_STREAM, 0);
  if (connect(fd, &stream->job->address.any, stream->job->length) != 0) die("connect");
  char *bytes = calloc(1, CHUNK);
  ssize_t length;
  while ((length = stream->is_upload ? send(fd, bytes, CHUNK, MSG_NOSIGNAL)
                                     : recv(fd, bytes, CHUNK, MSG_TRUNC)) > 0) stream->bytes += length;
  die("the connection ended");
  return NULL;
}

static uint64_t total(struct stream *streams, int count) {
  uint64_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += streams[i].bytes;
  return bytes;
}

void measure_bulk(const struct job *job, int is_upload) {
  static struct stream streams[MOST_STREAMS];
  if (job->count > MOST_STREAMS) die("too many streams");
  for (int i = 0; i < job->count; i++) {
    pthread_t thread;
    streams[i] = (struct stream){.job = job, .is_upload = is_upload};
    pthread_create(&thread, NULL, move, &streams[i]);
  }
  usleep(200000);
  double cpu = cpu_seconds(job->pids), start = now();
  uint64_t before = total(streams, job->count);
  usleep(job->seconds * 1e6);
  double bytes = total(streams, job->count) - before, elapsed = now() - start;
  cpu = cpu_seconds(job->pids) - cpu;
  printf("{\"gbits\": %.3f, \"cpu_s_per_gb\": %.4f}\n", bytes * 8 / elapsed / 1e9, cpu / (bytes / 1e9));
  fflush(stdout);
  _exit(0);
}

static int compare(const void *left, const void *right) {
  float a = *(const float *)left, b = *(const float *)right;
  return (a > b) - (a < b);
}

static double began[MOST_DESCRIPTORS];
static char was_sent[MOST_DESCRIPTORS];

static void open_connection(const struct job *job, int loop) {
  int fd = socket(job->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0 || fd >= MOST_DESCRIPTORS) die("socket");
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (connect(fd, &job->address.any, job->length) != 0 && errno != EINPROGRESS) die("connect");
  struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
  epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
  began[fd] = now();
  was_sent[fd] = 0;
}

/// 64 bytes there and back, over a new connection each time or over the same ones.
void measure_requests(const struct job *job, int reconnects) {
  static float samples[MOST_SAMPLES];
  char bytes[4096] = {0};
  long done = 0, failed = 0;
  int loop = epoll_create1(0);
  struct epoll_event event, events[256];
  for (int i = 0; i < job->count; i++) open_connection(job, loop);
  double cpu = cpu_seconds(job->pids), start = now(), elapsed;
  while ((elapsed = now() - start) < job->seconds) {
    int ready = epoll_wait(loop, events, 256, 100);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (!was_sent[fd]) {
        send(fd, bytes, 64, MSG_NOSIGNAL);
        was_sent[fd] = 1;
        event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(loop, EPOLL_CTL_MOD, fd, &event);
        continue;
      }
      if (recv(fd, bytes, sizeof bytes, 0) <= 0) {
        if (++failed > 1000) die("connections fail");
        close(fd);
        open_connection(job, loop);
        continue;
      }
      if (done < MOST_SAMPLES) samples[done] = now() - began[fd];
      done++;
      if (reconnects) {
        close(fd);
        open_connection(job, loop);
      } else {
        began[fd] = now();
        send(fd, bytes, 64, MSG_NOSIGNAL);
      }
    }
  }
  cpu = cpu_seconds(job->pids) - cpu;
  long count = done < MOST_SAMPLES ? done : MOST_SAMPLES;
  if (count == 0) die("nothing came back");
  qsort(samples, count, sizeof samples[0], compare);
  printf("{\"per_s\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"cpu_us\": %.2f, \"failed\": %ld}\n",
    done / elapsed, samples[count / 2] * 1e3, samples[count * 99 / 100] * 1e3, cpu / done * 1e6, failed);
}
