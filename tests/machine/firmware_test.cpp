#include "machine/firmware.h"

#include <gtest/gtest.h>

#include "tests/machine/temp_file.h"

namespace halcyon {
namespace {

std::string failure(const std::string& path) {
    auto image = load_firmware(path);
    return image ? "loaded" : image.error().message();
}

TEST(Firmware, ImageIsReadWhole) {
    std::string contents(128 * 1024, '\0');
    contents.front() = 'a';
    contents.back() = 'z';
    const test::TempFile file(contents);
    auto image = load_firmware(file.path());
    ASSERT_TRUE(image);
    EXPECT_EQ(image->size(), contents.size());
    EXPECT_EQ(image->bytes().front(), std::byte('a'));
    EXPECT_EQ(image->bytes().back(), std::byte('z'));
}

TEST(Firmware, MissingFileIsNamed) {
    EXPECT_EQ(failure("/nowhere/bios.bin"),
              "-bios: cannot open '/nowhere/bios.bin': No such file or directory");
}

TEST(Firmware, EmptyFileIsRefused) {
    const test::TempFile file("");
    EXPECT_EQ(failure(file.path()),
              "-bios: '" + file.path() +
                  "' has 0 bytes; a firmware image has a multiple of 64 KiB, at most 8 MiB");
}

TEST(Firmware, OddSizeIsRefused) {
    const test::TempFile file(std::string(65537, 'x'));
    EXPECT_NE(failure(file.path()).find("has 65537 bytes"), std::string::npos);
}

TEST(Firmware, ImageLargerThanItsWindowIsRefused) {
    const test::TempFile file(std::string(kMaxFirmwareSize + 65536, 'x'));
    EXPECT_NE(failure(file.path()).find("at most 8 MiB"), std::string::npos);
}

TEST(Firmware, DirectoryIsRefused) {
    EXPECT_EQ(failure("/tmp"), "-bios: '/tmp' is not a regular file");
}

}  // namespace
}  // namespace halcyon
