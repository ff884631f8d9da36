#include "daemon/qom/user_objects.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include <gtest/gtest.h>

namespace halcyon::qom {
namespace {

class UserObjectsTest : public testing::Test {
protected:
    std::string add(const std::string& id, SecretSettings settings) {
        const Result<void> added = objects_.add_secret(id, std::move(settings));
        return added ? "ok" : added.error().message();
    }
    std::string bytes(const std::string& id) { return objects_.secrets().at(id).bytes(); }

    UserObjects objects_;
};

TEST_F(UserObjectsTest, ASecretIsItsData) {
    EXPECT_EQ(add("s", {.data = "letmein"}), "ok");
    EXPECT_EQ(add("b", {.format = SecretFormat::kBase64, .data = "AAEC"}), "ok");
    EXPECT_EQ(bytes("s"), "letmein");
    EXPECT_EQ(bytes("b"), std::string("\0\1\2", 3));
}

TEST_F(UserObjectsTest, ASecretNeedsOneSource) {
    EXPECT_EQ(add("s", {}), "Either 'file' or 'data' must be provided");
    EXPECT_EQ(add("s", {.data = "x", .file = "/x"}), "'file' and 'data' are mutually exclusive");
    EXPECT_EQ(add("s", {.format = SecretFormat::kBase64, .data = "!"}),
              "Base64 data contains invalid characters");
    EXPECT_TRUE(objects_.secrets().empty());
}

TEST_F(UserObjectsTest, IdsAreIdentifiersAndUnique) {
    EXPECT_EQ(add("1s", {.data = "x"}), "Parameter 'id' expects an identifier");
    EXPECT_EQ(add("", {.data = "x"}), "Parameter 'id' expects an identifier");
    EXPECT_EQ(add("s", {.data = "x"}), "ok");
    EXPECT_EQ(add("s", {.data = "y"}),
              "attempt to add duplicate property 's' to object (type 'container')");
    EXPECT_EQ(bytes("s"), "x");
    EXPECT_TRUE(objects_.remove("s"));
    const Result<void> again = objects_.remove("s");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message(), "object 's' not found");
}

TEST_F(UserObjectsTest, FilesAreReadAndNobodyIsWaitedFor) {
    const std::string path = testing::TempDir() + "secret-" + std::to_string(::getpid());
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(add("fifo", {.file = path}), "ok");
    EXPECT_EQ(bytes("fifo"), "");
    ::unlink(path.c_str());
    EXPECT_EQ(add("s", {.file = path}), "Unable to read " + path + ": Failed to open file \u201c" +
                                            path + "\u201d: No such file or directory");
    EXPECT_EQ(add("d", {.file = "/"}),
              "Unable to read /: Error reading file \u201c/\u201d: Is a directory");
    EXPECT_EQ(add("z", {.file = "/dev/zero"}), "Unable to read /dev/zero: it is larger than 1 MiB");
    FILE* const file = std::fopen(path.c_str(), "w");
    std::fputs("from a file", file);
    std::fclose(file);
    EXPECT_EQ(add("s", {.file = path}), "ok");
    EXPECT_EQ(bytes("s"), "from a file");
    ::unlink(path.c_str());
}

}  // namespace
}  // namespace halcyon::qom
