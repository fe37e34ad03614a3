#include "load.h"

enum { BATCH = 64, DATAGRAM = 2048, IN_FLIGHT_OF_ONE = 64, IN_FLIGHT_OF_MANY = 2, FLOOD = 16 };

static struct mmsghdr questions[BATCH], answers[BATCH];
static struct iovec question_pieces[BATCH], answer_pieces[BATCH];
static char question[DATAGRAM], answer[BATCH][DATAGRAM];

static void prepare(int size) {
  for (int i = 0; i < BATCH; i++) {
    question_pieces[i] = (struct iovec){question, size};
    answer_pieces[i] = (struct iovec){answer[i], DATAGRAM};
    questions[i].msg_hdr = (struct msghdr){.msg_iov = &question_pieces[i], .msg_iovlen = 1};
    answers[i].msg_hdr = (struct msghdr){.msg_iov = &answer_pieces[i], .msg_iovlen = 1};
  }
}

static long send_to(int fd, int count) {
  int sent = sendmmsg(fd, questions, count, MSG_DONTWAIT);
  return sent > 0 ? sent : 0;
}

static long receive_all(int fd) {
  long received = 0;
  int count;
  while ((count = recvmmsg(fd, answers, BATCH, MSG_DONTWAIT, NULL)) > 0) {
    received += count;
    if (count < BATCH) break;
  }
  return received;
}

void measure_datagrams(const struct job *job) {
  prepare(job->size);
  int loop = epoll_create1(0);
  int *fds = calloc(job->count, sizeof *fds);
  for (int i = 0; i < job->count; i++) {
    fds[i] = socket(job->address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fds[i] < 0) die("socket");
    set_option(fds[i], SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
    set_option(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
    if (connect(fds[i], &job->address.any, job->length) != 0) die("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
    epoll_ctl(loop, EPOLL_CTL_ADD, fds[i], &event);
  }
  long sent = 0, received = 0, stalls = 0;
  int in_flight = job->count == 1 ? IN_FLIGHT_OF_ONE : IN_FLIGHT_OF_MANY, turn = 0;
  struct epoll_event events[256];
  double cpu = cpu_seconds(job->pids), start = now(), last = start, due = start, elapsed;
  if (job->rate == 0) for (int i = 0; i < job->count; i++) sent += send_to(fds[i], in_flight);
  while ((elapsed = now() - start) < job->seconds) {
    if (job->rate < 0) {
      sent += send_to(fds[turn], FLOOD);
      turn = (turn + 1) % job->count;
      received += receive_all(fds[turn]);
      continue;
    }
    if (job->rate > 0) {
      for (double time = now(); due < time; due += 8 / job->rate) {
        for (int i = 0; i < 8; i++) {
          sent += send_to(fds[turn], 1);
          turn = (turn + 1) % job->count;
        }
      }
      int ready = epoll_wait(loop, events, 256, 0);
      for (int i = 0; i < ready; i++) received += receive_all(events[i].data.fd);
      double wait = due - now();
      if (ready == 0 && wait > 20e-6) usleep(wait * 0.5e6);
      continue;
    }
    int ready = epoll_wait(loop, events, 256, 20);
    // What was lost is made up for, or the loop would run dry.
    if (ready == 0 && now() - last > 0.05) {
      for (int i = 0; i < job->count; i++) sent += send_to(fds[i], in_flight);
      last = now();
      stalls++;
    }
    for (int i = 0; i < ready; i++) {
      int count = recvmmsg(events[i].data.fd, answers, BATCH, MSG_DONTWAIT, NULL);
      if (count <= 0) continue;
      received += count;
      last = now();
      sent += send_to(events[i].data.fd, count);
    }
  }
  cpu = cpu_seconds(job->pids) - cpu;
  if (received == 0) die("nothing came back");
  printf("{\"answers_per_s\": %.0f, \"sent_per_s\": %.0f, \"stalls\": %ld, \"cpu_us\": %.3f}\n",
    received / elapsed, sent / elapsed, stalls, cpu / received * 1e6);
}
