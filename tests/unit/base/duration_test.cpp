#include "base/duration.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace baton {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, TakesANumberAndAUnit) {
  const std::pair<const char*, Duration> cases[] = {{"10s", 10s},        {"500ms", 500ms},
                                                    {"2m", 2min},        {"1h", 1h},
                                                    {"3d", 72h},         {"250us", 250us},
                                                    {"7ns", 7ns},        {"1.5s", 1500ms},
                                                    {"0.25m", 15s},      {"0", 0s},
                                                    {"0s", 0s},          {"0.1s", 100ms},
                                                    {"007s", 7s},        {"0.0000000019s", 1ns},
                                                    {"36500d", 876000h}, {"0.999999999d", 86399999913600ns}};
  for (const auto& [text, expected] : cases) {
    const auto parsed = ParseDuration(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error();
    EXPECT_EQ(*parsed, expected) << text;
  }
}

TEST(ParseDuration, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {{"", "empty"},
                                                       {"-1s", "negative"},
                                                       {"10", "unit is missing"},
                                                       {"s", "begin with a number"},
                                                       {"10 s", "unit"},
                                                       {"10S", "unit"},
                                                       {"1.2.3s", "unit"},
                                                       {"1.s", "begin with a number"},
                                                       {".5s", "begin with"},
                                                       {"99999999999999999999s", "number"},
                                                       {"40000d", "100 years"},
                                                       {"10sec", "unit"},
                                                       {"1e3s", "unit"},
                                                       {"+1s", "begin with"},
                                                       {" 1s", "begin with"}};
  for (const auto& [text, why] : cases) {
    const auto parsed = ParseDuration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().find(why), std::string::npos) << parsed.error();
    EXPECT_NE(parsed.error().find(std::string("\"") + text + "\""), std::string::npos) << parsed.error();
  }
}

TEST(DurationText, TakesTheGreatestReadableUnit) {
  const std::pair<Duration, const char*> cases[] = {
      {0ns, "0us"},          {999us, "999us"}, {1ms, "1.0ms"},     {12345us, "12.3ms"},
      {999999us, "999.9ms"}, {4200ms, "4.2s"}, {59999ms, "59.9s"}, {200s, "3m20s"},
      {5h + 7min, "5h07m"},  {291h, "12d03h"}, {-1500ms, "-1.5s"}};
  for (const auto& [duration, text] : cases) EXPECT_EQ(ToString(duration), text);
  EXPECT_EQ(ToString(Duration::min()), "-" + ToString(Duration::max()));
}

TEST(Printable, EscapesWhatATerminalOrALogWouldObey) {
  EXPECT_EQ(Printable("plain /path.txt"), "plain /path.txt");
  EXPECT_EQ(Printable("a\nb\tc\\d"), "a\\nb\\tc\\\\d");
  EXPECT_EQ(Printable("\x1b[31mred\x7f"), "\\x1b[31mred\\x7f");
  EXPECT_EQ(Printable("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b") << "a C1 control";
  EXPECT_EQ(Printable("\xc0\xaf\xed\xa0\x80"), "\\xc0\\xaf\\xed\\xa0\\x80") << "overlong, surrogate";
  EXPECT_EQ(Printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(Quoted("say \"hi\""), "\"say \\\"hi\\\"\"");
}

}  // namespace
}  // namespace baton
