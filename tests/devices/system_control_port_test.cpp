#include "devices/system_control_port.h"

#include <vector>

#include <gtest/gtest.h>

#include "devices/system_control_port_registers.h"
#include "tests/devices/io_access.h"

namespace halcyon {
namespace {

using namespace system_control_port;

class SystemControlPortTest : public testing::Test {
protected:
    std::vector<bool> a20_;
    int resets_ = 0;
    SystemControlPortA port_{{.a20_changed = [this](bool on) { a20_.push_back(on); },
                              .reset_requested = [this] { ++resets_; }}};
};

TEST_F(SystemControlPortTest, KeepsItsBits) {
    EXPECT_EQ(in8(port_), 0);
    out8(port_, 0, 0xFE);
    EXPECT_EQ(in8(port_), 0xCA);
}

TEST_F(SystemControlPortTest, SwitchesA20) {
    out8(port_, 0, kFastA20);
    out8(port_, 0, kFastA20);
    out8(port_, 0, 0);
    EXPECT_EQ(a20_, (std::vector<bool>{true, false}));
}

TEST_F(SystemControlPortTest, ResetsWhenTheResetBitRises) {
    out8(port_, 0, kFastReset);
    out8(port_, 0, kFastReset);
    EXPECT_EQ(resets_, 1);
    out8(port_, 0, 0);
    out8(port_, 0, kFastReset);
    EXPECT_EQ(resets_, 2);
}

TEST_F(SystemControlPortTest, PasswordLockStaysUntilReset) {
    out8(port_, 0, kPasswordLock);
    out8(port_, 0, 0);
    EXPECT_EQ(in8(port_), kPasswordLock);
    port_.reset();
    EXPECT_EQ(in8(port_), 0);
}

TEST_F(SystemControlPortTest, ResetSwitchesFastA20Off) {
    out8(port_, 0, kFastA20 | kFastReset);
    port_.reset();
    EXPECT_EQ(a20_.back(), false);
    EXPECT_EQ(resets_, 1);
}

}  // namespace
}  // namespace halcyon
