// namespace_walk: random operations on names and attributes, made on a local directory and on a mount alike,
// must give and leave the same.
//
//   namespace_walk LOCAL MOUNT [--seed N] [--walks N] [--operations N] [--keep-going yes]
//                      [--look-always yes]
//
// Each walk has the next seed and that many operations of its own; --seed with the same --operations makes
// the same walk again. Started by root it acts as root and as three users, otherwise as its own user. Walks
// with a seed that 4 divides compare times too, and wait for the clock before each operation. Exit status: 0,
// 1 if something differed, 2 for bad usage.
#include <csignal>
#include <exception>
#include <iostream>
#include <span>

#include "walk/walk.h"

namespace baton::walk {
namespace {

struct Arguments {
  Options options;
  std::uint64_t walks = 1;
  bool keep_going = false;
};

int Usage() {
  std::cerr << "usage: namespace_walk LOCAL MOUNT [--seed N] [--walks N] [--operations N] [--keep-going yes] "
               "[--look-always yes]\n";
  return 2;
}

bool Parse(std::span<char*> words, Arguments& arguments) {
  if (words.size() < 3 || words.size() % 2 == 0) return false;
  arguments.options.local = words[1];
  arguments.options.mount = words[2];
  for (std::size_t n = 3; n < words.size(); n += 2) {
    const std::string name = words[n], value = words[n + 1];
    if (name == "--seed")
      arguments.options.seed = std::stoull(value);
    else if (name == "--walks")
      arguments.walks = std::stoull(value);
    else if (name == "--operations")
      arguments.options.operations = std::stoull(value);
    else if (name == "--keep-going" && value == "yes")
      arguments.keep_going = true;
    else if (name == "--look-always" && value == "yes")
      arguments.options.look_always = true;
    else
      return false;
  }
  return true;
}

int Run(Arguments arguments) {
  const People people;
  std::map<std::string, Count> counts;
  int status = 0;
  for (std::uint64_t n = 0; n < arguments.walks && (status == 0 || arguments.keep_going);
       ++n, ++arguments.options.seed) {
    Walk walk(arguments.options, people);
    try {
      walk.Run();
    } catch (const Differs& error) {
      std::cerr << error.what() << std::endl;
      status = 1;
    }
    for (const auto& [kind, count] : walk.Counts()) {
      counts[kind].succeeded += count.succeeded;
      counts[kind].failed += count.failed;
    }
  }
  for (const auto& [kind, count] : counts)
    std::cout << kind << " " << count.succeeded << " " << count.failed << "\n";
  return status;
}

}  // namespace
}  // namespace baton::walk

int main(int argc, char** argv) {
  using namespace baton::walk;
  std::signal(SIGPIPE, SIG_IGN);
  Arguments arguments;
  try {
    if (!Parse(std::span(argv, static_cast<std::size_t>(argc)), arguments)) return Usage();
    return Run(arguments);
  } catch (const std::exception& error) {
    std::cerr << "namespace_walk: " << error.what() << "\n";
    return 2;
  }
}
