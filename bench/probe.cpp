// The measuring program of bench/takeover and bench/open: plain system calls and a clock, nothing of batonfs.
// One thread; prints JSON. It is no test: it judges nothing.
//
//   bench_probe rates ROUNDS PER_ROUND LABEL=DIRECTORY...   every operation in every directory, rounds
//   interleaved bench_probe hold DIRECTORY COUNT                        opens and locks f0...; says "ready";
//   ends with its stdin bench_probe first DIRECTORY AGAIN                       times the open of f0, then
//   AGAIN further opens of it
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

using Samples = std::vector<double>;  // microseconds
constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kSmall = 128;  // about what a request or a reply without file data has

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "bench_probe: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

double Micros(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

std::string Row(Samples samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double part) {
    return samples[static_cast<std::size_t>(part * double(samples.size() - 1))];
  };
  char text[160];
  std::snprintf(text, sizeof text, "{\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"n\": %zu}", at(0.5),
                at(0.9), at(0.99), samples.size());
  return text;
}

// --- A bare round trip over loopback TCP
// ------------------------------------------------------------------------------

bool Move(int fd, char* bytes, std::size_t size, bool out) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t now =
        out ? send(fd, bytes + done, size - done, MSG_NOSIGNAL) : recv(fd, bytes + done, size - done, 0);
    if (now <= 0) return false;
    done += static_cast<std::size_t>(now);
  }
  return true;
}

// A process of its own that answers requests; each begins with its own size and the size of the wanted
// answer.
class Echo {
 public:
  Echo() {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener, 1) != 0)
      Die("listen");
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    pid_ = fork();
    if (pid_ == 0) Serve(accept(listener, nullptr, nullptr));
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) Die("connect");
    NoDelay(fd_);
    close(listener);
  }
  ~Echo() {
    close(fd_);
    waitpid(pid_, nullptr, 0);
  }
  Echo(const Echo&) = delete;

  void RoundTrip(std::uint32_t request, std::uint32_t reply) {
    const std::uint32_t sizes[] = {request, reply};
    std::memcpy(buffer_, sizes, sizeof sizes);
    if (!Move(fd_, buffer_, request, true) || !Move(fd_, buffer_, reply, false)) Die("round trip");
  }

 private:
  static void NoDelay(int fd) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  [[noreturn]] static void Serve(int fd) {
    static char buffer[4 * kPage];
    NoDelay(fd);
    std::uint32_t sizes[2];
    while (Move(fd, buffer, sizeof sizes, false)) {
      std::memcpy(sizes, buffer, sizeof sizes);
      if (!Move(fd, buffer, sizes[0] - sizeof sizes, false) || !Move(fd, buffer, sizes[1], true)) break;
    }
    _exit(0);
  }

  int fd_ = -1;
  pid_t pid_ = 0;
  char buffer_[4 * kPage] = {};
};

// --- rates
// ------------------------------------------------------------------------------------------------------------

struct Place {
  std::string label;
  std::string file;
  int fd = -1;
  std::map<std::string, Samples> times;
};

void OpenPlace(Place& place) {
  place.fd = open(place.file.c_str(), O_RDWR | O_CREAT, 0644);
  static char page[kPage];
  if (place.fd < 0 || pwrite(place.fd, page, kPage, 0) != static_cast<ssize_t>(kPage)) Die(place.file);
}

void Require(bool good, const Place& place, const char* what) {
  if (!good) Die(place.file + ": " + what);
}

void Measure(Place& place, int count) {
  static char* page = static_cast<char*>(std::aligned_alloc(kPage, kPage));
  struct stat status;
  const auto repeat = [&](const char* name, const auto& work) {
    for (int i = 0; i < count; ++i)
      place.times[name].push_back(Micros([&] { Require(work(), place, name); }));
  };
  const auto reopen = [&](int flags) {
    const int fd = open(place.file.c_str(), flags);
    return fd >= 0 && close(fd) == 0;
  };
  repeat("fstat", [&] { return fstat(place.fd, &status) == 0; });
  repeat("stat", [&] { return stat(place.file.c_str(), &status) == 0; });
  repeat("open+close, read", [&] { return reopen(O_RDONLY); });
  repeat("open+close, write", [&] { return reopen(O_RDWR); });
  for (int i = 0; i < count; ++i) {
    posix_fadvise(place.fd, 0, 0, POSIX_FADV_DONTNEED);  // so that no cache answers
    const auto read = [&] {
      Require(pread(place.fd, page, kPage, 0) == static_cast<ssize_t>(kPage), place, "read");
    };
    place.times["read 4K"].push_back(Micros(read));
  }
  repeat("write 4K", [&] { return pwrite(place.fd, page, kPage, 0) == static_cast<ssize_t>(kPage); });
}

void PrintTimes(const std::string& label, const std::map<std::string, Samples>& times, bool first) {
  std::printf("%s\"%s\": {", first ? "" : ",\n ", label.c_str());
  bool first_row = true;
  for (const auto& [name, samples] : times) {
    std::printf("%s\"%s\": %s", std::exchange(first_row, false) ? "" : ", ", name.c_str(),
                Row(samples).c_str());
  }
  std::printf("}");
}

int Rates(int rounds, int count, const std::vector<std::string>& arguments) {
  std::vector<Place> places;
  for (const std::string& argument : arguments) {
    const std::size_t at = argument.find('=');
    places.push_back(
        {argument.substr(0, at), argument.substr(at + 1) + "/bench-" + argument.substr(0, at), -1, {}});
  }
  for (Place& place : places) OpenPlace(place);
  Echo echo;
  std::map<std::string, Samples> trips;
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    for (Place& place : places) Measure(place, count);
    for (int i = 0; i < count; ++i) {
      trips["small"].push_back(Micros([&] { echo.RoundTrip(kSmall, kSmall); }));
      trips["read 4K"].push_back(Micros([&] { echo.RoundTrip(kSmall, kSmall + kPage); }));
      trips["write 4K"].push_back(Micros([&] { echo.RoundTrip(kSmall + kPage, kSmall); }));
    }
    if (round >= 0) continue;
    trips.clear();
    for (Place& place : places) place.times.clear();
  }
  std::printf("{");
  PrintTimes("loopback", trips, true);
  for (const Place& place : places) PrintTimes(place.label, place.times, false);
  std::printf("}\n");
  return 0;
}

// --- takeover
// ---------------------------------------------------------------------------------------------------------

std::string FileNumber(const std::string& directory, int number) {
  return directory + "/f" + std::to_string(number);
}

int Hold(const std::string& directory, int count) {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  for (int i = 0; i < count; ++i) {
    const int fd = open(FileNumber(directory, i).c_str(), O_RDWR);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0) Die(FileNumber(directory, i));
  }
  std::printf("ready\n");
  std::fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}

int First(const std::string& directory, int again) {
  const auto timed = [&](int number) {
    int fd = -1;
    const std::string name = FileNumber(directory, number);
    const double micros = Micros([&] { fd = open(name.c_str(), O_RDWR); });
    if (fd < 0) Die(name);
    close(fd);
    return micros;
  };
  std::printf("{\"first\": %.2f, \"again\": [", timed(0));
  for (int i = 0; i < again; ++i) std::printf("%s%.2f", i == 0 ? "" : ", ", timed(0));
  std::printf("]}\n");
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> arguments(words + 1, words + count);
  if (arguments.size() >= 4 && arguments[0] == "rates") {
    return Rates(std::stoi(arguments[1]), std::stoi(arguments[2]), {arguments.begin() + 3, arguments.end()});
  }
  if (arguments.size() == 3 && arguments[0] == "hold") return Hold(arguments[1], std::stoi(arguments[2]));
  if (arguments.size() == 3 && arguments[0] == "first") return First(arguments[1], std::stoi(arguments[2]));
  std::fprintf(stderr, "bench_probe: see the head of bench/probe.cpp\n");
  return 2;
}
