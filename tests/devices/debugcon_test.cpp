#include "devices/debugcon.h"

#include <gtest/gtest.h>

#include "tests/devices/fake_char_backend.h"
#include "tests/devices/io_access.h"

namespace halcyon {
namespace {

TEST(Debugcon, ReadsBackItsSignature) {
    FakeCharBackend line;
    Debugcon debugcon(line);
    EXPECT_EQ(in8(debugcon), 0xE9);
}

TEST(Debugcon, WritesGoToTheBackend) {
    FakeCharBackend line;
    Debugcon debugcon(line);
    for (const char c : std::string_view("SeaBIOS")) {
        out8(debugcon, 0, static_cast<uint8_t>(c));
    }
    EXPECT_EQ(line.output(), "SeaBIOS");
    EXPECT_EQ(debugcon.dropped(), 0u);
}

TEST(Debugcon, CountsWhatASlowBackendRefuses) {
    FakeCharBackend line;
    Debugcon debugcon(line);
    line.set_room(1);
    out8(debugcon, 0, 'a');
    out8(debugcon, 0, 'b');
    out8(debugcon, 0, 'c');
    EXPECT_EQ(line.output(), "a");
    EXPECT_EQ(debugcon.dropped(), 2u);
    line.set_room(1);
    out8(debugcon, 0, 'd');
    EXPECT_EQ(line.output(), "ad");
}

TEST(Debugcon, TakesNoInputAndDisconnectsWhenItGoes) {
    FakeCharBackend line;
    {
        Debugcon debugcon(line);
        EXPECT_EQ(line.send("x"), 0u);
    }
    EXPECT_FALSE(line.connected());
}

}  // namespace
}  // namespace halcyon
