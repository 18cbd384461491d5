// docs/protocol.md lists the operations: its tables are made from the protocol's own. BATON_UPDATE_DOCS=1
// writes them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "protocol/operations.h"

namespace baton::protocol {
namespace {

constexpr const char* kBegin = "<!-- made from src/protocol/operations.h: begin -->\n";
constexpr const char* kEnd = "<!-- end -->\n";

template <class T>
std::string FieldsOf() {
  const std::string names = T::FieldNames();
  return names.empty() ? "-" : names;
}

const char* SentAgain(Replay replay) {
  switch (replay) {
    case Replay::kFirstReply:
      return "first reply";
    case Replay::kFirstReplyOfOneLife:
      return "first reply of one life";
    case Replay::kRunsAgain:
      break;
  }
  return "runs again";
}

std::string Tables() {
  std::ostringstream out;
  out << "| no. | request | its fields | reply's fields | changes | sent again | order |\n"
      << "|----:|---------|------------|----------------|---------|------------|-------|\n";
#define X(number, name, request, reply, effect, replay, order)                                          \
  out << "| " << number << " | " << #name << " | " << FieldsOf<request>() << " | " << FieldsOf<reply>() \
      << " | " << (Effect::effect == Effect::kChanges ? "yes" : "no") << " | "                          \
      << SentAgain(Replay::replay) << " | "                                                             \
      << (Order::order == Order::kOrdered ? "in order" : "any") << " |\n";
  BATON_OPERATIONS(X)
#undef X
  out << "\n| no. | notice | its fields |\n|----:|--------|------------|\n";
#define X(number, name, message) \
  out << "| " << number << " | " << #name << " | " << FieldsOf<message>() << " |\n";
  BATON_NOTICES(X)
#undef X
  return out.str();
}

TEST(ProtocolDocument, ListsTheOperationsAsTheyAre) {
  const std::string path = std::string(BATON_TESTS) + "/../docs/protocol.md";
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t begin = text.find(kBegin);
  ASSERT_NE(begin, std::string::npos) << path;
  const std::size_t from = begin + std::string(kBegin).size();
  const std::size_t end = text.find(kEnd, from);
  ASSERT_NE(end, std::string::npos) << path;
  if (std::getenv("BATON_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << text.substr(0, from) << Tables() << text.substr(end);
    return;
  }
  EXPECT_EQ(text.substr(from, end - from), Tables())
      << "BATON_UPDATE_DOCS=1 protocol_test writes the tables anew";
}

TEST(Operations, TheirPropertiesAreTheTables) {
  int count = 0;
#define X(number_, name_, request_, reply_, effect_, replay_, order_)      \
  {                                                                        \
    const auto properties = PropertiesOf(static_cast<Operation>(number_)); \
    ASSERT_TRUE(properties);                                               \
    EXPECT_EQ(properties->name, #name_);                                   \
    EXPECT_EQ(properties->effect, Effect::effect_);                        \
    EXPECT_EQ(properties->replay, Replay::replay_);                        \
    EXPECT_EQ(properties->order, Order::order_);                           \
    ++count;                                                               \
  }
  BATON_OPERATIONS(X)
#undef X
  int known = 0;
  for (int number = 0; number < 65536; ++number) {
    known += PropertiesOf(static_cast<Operation>(number)).has_value() ? 1 : 0;
  }
  EXPECT_EQ(known, count);  // notices are no requests
}

}  // namespace
}  // namespace baton::protocol
