#include "load.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

void die(const char *what) {
  perror(what);
  exit(1);
}

void set_option(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof value) != 0) die("setsockopt");
}

static double cpu_of(const char *pid) {
  char path[560], child[16];
  double seconds = 0;
  snprintf(path, sizeof path, "/proc/%s/task", pid);
  DIR *tasks = opendir(path);
  for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
    // `..` has a schedstat as well: the first thread's, which would count twice.
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, entry->d_name);
    FILE *file = fopen(path, "r");
    unsigned long long nanoseconds = 0;
    if (file && fscanf(file, "%llu", &nanoseconds) == 1) seconds += nanoseconds * 1e-9;
    if (file) fclose(file);
    snprintf(path, sizeof path, "/proc/%s/task/%s/children", pid, entry->d_name);
    file = fopen(path, "r");
    while (file && fscanf(file, "%15s", child) == 1) seconds += cpu_of(child);
    if (file) fclose(file);
  }
  if (tasks) closedir(tasks);
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  FILE *file = fopen(path, "r");
  char line[1024];
  long user = 0, system = 0;
  if (file && fgets(line, sizeof line, file)) {
    char *rest = strrchr(line, ')');
    if (rest) sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %ld %ld", &user, &system);
  }
  if (file) fclose(file);
  return seconds + (user + system) / (double)sysconf(_SC_CLK_TCK);
}

/// The method is tried on this very process, whose time the kernel also tells in another way.
static void check_method(void) {
  struct timespec time;
  double told = cpu_of("self");
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  double spent = time.tv_sec + time.tv_nsec * 1e-9;
  // What a thread has used since its last tick may be missing, no more than that.
  if (told > 1.2 * spent + 0.01) {
    fprintf(stderr, "schedstat tells %.3f s of CPU time, the process's clock %.3f s\n", told, spent);
    exit(1);
  }
}

double cpu_seconds(const char *pids) {
  char text[256];
  check_method();
  snprintf(text, sizeof text, "%s", pids);
  double seconds = 0;
  for (char *rest = text, *pid; (pid = strtok_r(rest, ",", &rest));) seconds += cpu_of(pid);
  return seconds;
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (count == 3 && strcmp(words[1], "serve") == 0) serve(atoi(words[2]));
  if (count < 7) {
    fprintf(stderr, "usage: load serve PORT\n"
                    "       load up|down|connect|exchange|udp ADDRESS PORT SECONDS COUNT PIDS [SIZE RATE]\n");
    return 2;
  }
  struct job job = {.seconds = atof(words[4]), .count = atoi(words[5]), .pids = words[6], .size = 64};
  job.length = sizeof job.address.v4;
  job.address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[3]))};
  if (inet_pton(AF_INET, words[2], &job.address.v4.sin_addr) != 1) {
    job.length = sizeof job.address.v6;
    job.address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(atoi(words[3]))};
    if (inet_pton(AF_INET6, words[2], &job.address.v6.sin6_addr) != 1) die("address");
  }
  if (count > 7) job.size = atoi(words[7]);
  if (count > 8) job.rate = atof(words[8]);
  const char *what = words[1];
  if (strcmp(what, "up") == 0) measure_bulk(&job, 1);
  else if (strcmp(what, "down") == 0) measure_bulk(&job, 0);
  else if (strcmp(what, "connect") == 0) measure_requests(&job, 1);
  else if (strcmp(what, "exchange") == 0) measure_requests(&job, 0);
  else if (strcmp(what, "udp") == 0) measure_datagrams(&job);
  else return 2;
  return 0;
}
