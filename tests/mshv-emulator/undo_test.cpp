/// Finding the instruction behind a KVM exit, in generated streams.
#include "tools/mshv-emulator/undo.h"

#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "tests/mshv-emulator/undo_streams.h"

namespace halcyon::emulator {
namespace {

using Make = std::optional<Exit> (*)(Generator&);

struct Family {
    const char* name;
    Make make;
};

class UndoTest : public testing::TestWithParam<Family> {};

bool same_general(const kvm_regs& a, const kvm_regs& b) {
    kvm_regs x = a;
    x.rip = b.rip;
    return std::memcmp(&x, &b, sizeof(x)) == 0;
}

TEST_P(UndoTest, FindsTheStoreAndTheRegistersBeforeIt) {
    unsigned streams = 0;
    unsigned exact = 0;
    for (unsigned seed = 0; seed < 6000; ++seed) {
        const Mode mode = static_cast<Mode>(seed % 3);
        Generator generator(mode, seed);
        const auto exit = GetParam().make(generator);
        if (!exit) {
            continue;
        }
        SCOPED_TRACE(exit->name + ", seed " + std::to_string(seed));
        ++streams;
        const auto found = undo_write(exit->after, generator.sregs, exit->access, generator.guest);
        ASSERT_TRUE(found);
        // Where two instructions make the same access, either will do; it must end where KVM was.
        const bool is_same = found->regs.rip == exit->before.rip && found->length == exit->length;
        exact += is_same ? 1 : 0;
        if (is_same) {
            ASSERT_TRUE(same_general(found->regs, exit->before));
        } else {
            EXPECT_EQ(found->regs.rip + found->length, exit->before.rip + exit->length);
        }
        if (exit->access.space == GuestAccess::Space::kMemory) {
            ASSERT_EQ(found->linear, exit->access.address);
        }
    }
    EXPECT_GT(streams, 2000U);
    EXPECT_GE(exact, streams - streams / 200) << "of " << streams;
}

INSTANTIATE_TEST_SUITE_P(All, UndoTest,
                         testing::Values(Family{"Plain", plain_store},
                                         Family{"String", string_store},
                                         Family{"Stack", stack_store}, Family{"Port", port_store}),
                         [](const auto& family) { return family.param.name; });

}  // namespace
}  // namespace halcyon::emulator
