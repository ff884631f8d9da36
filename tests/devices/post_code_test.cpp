#include "devices/post_code.h"

#include <gtest/gtest.h>

#include "tests/devices/io_access.h"

namespace halcyon {
namespace {

TEST(PostCode, LatchesTheLastByteWritten) {
    PostCode port;
    EXPECT_EQ(in8(port), 0x00);
    out8(port, 0, 0x31);
    out8(port, 0, 0xC0);
    EXPECT_EQ(in8(port), 0xC0);
    EXPECT_EQ(port.last(), 0xC0);
}

TEST(PostCode, ResetClearsIt) {
    PostCode port;
    out8(port, 0, 0xC0);
    port.reset();
    EXPECT_EQ(port.last(), 0x00);
}

}  // namespace
}  // namespace halcyon
