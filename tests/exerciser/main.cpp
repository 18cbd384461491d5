// exerciser: random reads, writes, truncates, holes and mapped stores by several threads at once, each
// checked against a model in memory (D, C1).
//
//   exerciser DIRECTORY [--seed N] [--operations N] [--threads N] [--files N] [--size BYTES]
//             [--store DIRECTORY] [--locks posix|ofd --model FILE --first-worker N [--lock-ranges yes]]
//
// --operations is what all threads do together. --store: the files as the server has them, compared at the
// end. With --locks any number of processes, on two nodes, share the files and the model, whose file must not
// lie on the mount; posix wants one thread. They lock the whole file, or with --lock-ranges what they use of
// it. Exit status: 0, 1 if something differed, 2 for bad usage.
#include <deque>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <mutex>
#include <span>
#include <thread>

#include "exerciser/worker.h"

namespace baton::exerciser {
namespace {

int Usage() {
  std::cerr
      << "usage: exerciser DIRECTORY [--seed N] [--operations N] [--threads N] [--files N] [--size BYTES]\n"
         "                 [--store DIRECTORY] [--locks posix|ofd --model FILE --first-worker N "
         "[--lock-ranges yes]]\n";
  return 2;
}

bool Set(Options& options, const std::string& name, const std::string& value) {
  if (name == "--seed")
    options.seed = std::stoull(value);
  else if (name == "--operations")
    options.operations = std::stoull(value);
  else if (name == "--threads")
    options.threads = std::stoi(value);
  else if (name == "--files")
    options.files = std::stoi(value);
  else if (name == "--size")
    options.max_size = std::stoull(value);
  else if (name == "--store")
    options.store = value;
  else if (name == "--model")
    options.model = value;
  else if (name == "--first-worker")
    options.first_worker = std::stoi(value);
  else if (name == "--lock-ranges" && (value == "yes" || value == "no"))
    options.ranges = value == "yes";
  else if (name == "--locks" && value == "posix")
    options.locks = Kind::kPosix;
  else if (name == "--locks" && value == "ofd")
    options.locks = Kind::kOfd;
  else
    return false;
  return true;
}

bool Parse(std::span<char*> words, Options& options) {
  if (words.size() < 2 || words.size() % 2 != 0) return false;
  options.directory = words[1];
  for (std::size_t n = 2; n < words.size(); n += 2) {
    if (!Set(options, words[n], words[n + 1])) return false;
  }
  const bool shared = options.locks != Kind::kInProcess;
  return options.threads > 0 && options.files > 0 && options.max_size > 0 &&
         shared == !options.model.empty() && !(options.locks == Kind::kPosix && options.threads > 1);
}

// What the server's disk holds; the files have been synced.
std::string CompareStore(const Options& options, const Model& model) {
  for (int file = 0; file < options.files; ++file) {
    std::ifstream stream(options.store + "/" + FileName(file), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
    const auto wanted = model.Bytes(file, {.start = 0, .end = model.Size(file)});
    if (bytes.size() != wanted.size()) return FileName(file) + " has another size in the store";
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      if (static_cast<unsigned char>(bytes[n]) != wanted[n]) {
        return FileName(file) + " differs in the store at " + std::to_string(n) + "\n" +
               model.History(file, n);
      }
    }
  }
  return {};
}

int Run(const Options& options) {
  Model model(options.model, options.files, options.max_size);
  std::deque<RangeLocks> locks(static_cast<std::size_t>(options.files));
  std::mutex mutex;
  int status = 0;
  std::map<std::string, std::uint64_t> counts;
  std::deque<Worker> workers;
  for (int n = 0; n < options.threads; ++n)
    workers.emplace_back(options, model, locks, options.first_worker + n);
  const auto work = [&](Worker& worker) {
    try {
      worker.Run(options.operations / static_cast<std::uint64_t>(options.threads));
    } catch (const std::exception& error) {
      model.Fail();
      const std::scoped_lock lock(mutex);
      std::cerr << error.what() << std::endl;
      status = 1;
    }
    const std::scoped_lock lock(mutex);
    for (const auto& [kind, count] : worker.Counts()) counts[kind] += count;
  };
  {
    std::vector<std::jthread> threads;
    for (Worker& worker : workers) threads.emplace_back([&work, &worker] { work(worker); });
  }
  if (status == 0 && !model.Failed()) workers.front().CheckAll();
  workers.clear();
  if (const std::string wrong = options.store.empty() || status != 0 ? "" : CompareStore(options, model);
      !wrong.empty()) {
    std::cerr << "seed " << options.seed << ": " << wrong << std::endl;
    status = 1;
  }
  for (const auto& [kind, count] : counts) std::cout << kind << " " << count << "\n";
  return model.Failed() ? 1 : status;
}

}  // namespace
}  // namespace baton::exerciser

int main(int argc, char** argv) {
  using namespace baton::exerciser;
  Options options;
  try {
    if (!Parse(std::span(argv, static_cast<std::size_t>(argc)), options)) return Usage();
    return Run(options);
  } catch (const Difference& error) {
    std::cerr << error.what() << "\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << "exerciser: " << error.what() << "\n";
    return 2;
  }
}
