/// MSHV_ROOT_HVCALL: the driver's own checks, and what it gives back.
#include <array>

#include "tests/mshv-emulator/abi_fixture.h"

namespace halcyon::mshv {
namespace {

class AbiHypercallTest : public AbiTest {
protected:
    void SetUp() override {
        AbiTest::SetUp();
        if (!IsSkipped()) {
            make_initialized_partition();
            vp = static_cast<int>(create_vp(0));
            ASSERT_GE(vp, 0);
        }
    }
    void TearDown() override {
        close(vp);
        AbiTest::TearDown();
    }
    /// GET_PARTITION_PROPERTY, ready to be spoilt.
    RootHypercall property_request() {
        input = {.partition_id = 0, .property = PartitionProperty::kProcessorVendor, .reserved = 0};
        RootHypercall request = hypercall_of(HypercallCode::kGetPartitionProperty, input);
        request.output_pointer = reinterpret_cast<uint64_t>(&value);
        request.output_size = sizeof(value);
        return request;
    }
    /// What the driver says to a request, on the partition.
    long result_of(RootHypercall request) const { return hypercall(partition, request); }

    int vp = -1;
    GetPropertyInput input{};
    uint64_t value = ~uint64_t{0};
};

TEST_F(AbiHypercallTest, GivesItsOutput) {
    EXPECT_EQ(result_of(property_request()), 0);
    EXPECT_LE(value, 2U);
}

TEST_F(AbiHypercallTest, IsTakenOnAVpToo) {
    RootHypercall request = property_request();
    EXPECT_EQ(hypercall(vp, request), 0);
}

TEST_F(AbiHypercallTest, PartitionIdIsTheDrivers) {
    RootHypercall request = property_request();
    input.partition_id = 0x1234;
    EXPECT_EQ(hypercall(partition, request), 0);
    EXPECT_EQ(input.partition_id, 0x1234U);  // its own copy
}

TEST_F(AbiHypercallTest, StructIsChecked) {
    EXPECT_EQ(call(partition, kIoctlRootHypercall, nullptr), -EFAULT);
    RootHypercall request = property_request();
    request.status = 1;
    EXPECT_EQ(result_of(request), -EINVAL);
    request = property_request();
    request.reserved[5] = 1;
    EXPECT_EQ(result_of(request), -EINVAL);
    request = property_request();
    request.input_pointer = 0;
    EXPECT_EQ(result_of(request), -EINVAL);
    for (const uint16_t size : {uint16_t{0}, uint16_t{7}, uint16_t{4097}}) {
        request = property_request();
        request.input_size = size;
        EXPECT_EQ(result_of(request), -EINVAL) << size;
    }
    for (const uint16_t size : {uint16_t{0}, uint16_t{4097}}) {
        request = property_request();
        request.output_size = size;
        EXPECT_EQ(result_of(request), -EINVAL) << size;
    }
}

TEST_F(AbiHypercallTest, InputMustBeThere) {
    const Pages nothing(1, PROT_NONE);
    RootHypercall request = property_request();
    request.input_pointer = nothing.address();
    EXPECT_EQ(result_of(request), -EFAULT);
}

TEST_F(AbiHypercallTest, OnlyListedCodesPass) {
    for (const uint16_t code : {0x02, 0x40, 0x41, 0x4e, 0x53, 0x54, 0x79, 0xffff}) {
        RootHypercall request = property_request();
        request.code = code;
        EXPECT_EQ(result_of(request), -EINVAL) << std::hex << code;
    }
}

TEST_F(AbiHypercallTest, PropertiesAreSetOnThePartitionOnly) {
    SetPropertyInput set{
        .partition_id = 0, .property = PartitionProperty::kTimeFreeze, .reserved = 0, .value = 1};
    RootHypercall request = hypercall_of(HypercallCode::kSetPartitionProperty, set);
    EXPECT_EQ(hypercall(vp, request), -EINVAL);
    EXPECT_EQ(hypercall(partition, request), 0);
}

TEST_F(AbiHypercallTest, RefusalHasTheHypervisorsStatus) {
    RootHypercall request = property_request();
    input.property = static_cast<PartitionProperty>(0x00ff00ff);
    EXPECT_EQ(hypercall(partition, request), -EIO);
    EXPECT_EQ(request.status, static_cast<uint16_t>(HvStatus::kUnknownProperty));
}

TEST_F(AbiHypercallTest, EarlyPropertyIsTooLateAfterInitialize) {
    SetPropertyInput set{.partition_id = 0,
                         .property = PartitionProperty::kSyntheticProcFeatures,
                         .reserved = 0,
                         .value = 1};
    RootHypercall request = hypercall_of(HypercallCode::kSetPartitionProperty, set);
    EXPECT_EQ(hypercall(partition, request), -EIO);
    EXPECT_EQ(request.status, static_cast<uint16_t>(HvStatus::kInvalidPartitionState));
}

/// A list of names for GET_VP_REGISTERS.
struct NameList {
    VpRegistersInput header{};
    std::array<RegisterName, 3> names{};
};

TEST_F(AbiHypercallTest, ListsSayHowFarTheyCame) {
    NameList list;
    list.names = {RegisterName::kRip, static_cast<RegisterName>(0x7fffffff), RegisterName::kCr0};
    std::array<RegisterValue, 3> values{};
    RootHypercall request = hypercall_of(HypercallCode::kGetVpRegisters, list);
    request.repetitions = 3;
    request.output_pointer = reinterpret_cast<uint64_t>(values.data());
    request.output_size = sizeof(values);
    EXPECT_EQ(hypercall(partition, request), -EINVAL);
    EXPECT_EQ(request.status, static_cast<uint16_t>(HvStatus::kInvalidParameter));
    EXPECT_EQ(request.repetitions, 1);
    // The old driver gives what there is.
    EXPECT_EQ(values[0].low == 0xfff0, is_old());
}

TEST_F(AbiHypercallTest, ListsGiveAllAndCountAll) {
    NameList list;
    list.names = {RegisterName::kRip, RegisterName::kCr0, RegisterName::kRip};
    std::array<RegisterValue, 3> values{};
    RootHypercall request = hypercall_of(HypercallCode::kGetVpRegisters, list);
    request.repetitions = 3;
    request.output_pointer = reinterpret_cast<uint64_t>(values.data());
    request.output_size = sizeof(values);
    EXPECT_EQ(hypercall(partition, request), 0);
    EXPECT_EQ(request.repetitions, 3);
    EXPECT_EQ(values[0].low, 0xfff0U);
    EXPECT_EQ(values[2].low, 0xfff0U);
}

TEST_F(AbiHypercallTest, VpThatIsNotThereIsEinval) {
    NameList list;
    list.header.vp_index = 9;
    list.names = {RegisterName::kRip, RegisterName::kRip, RegisterName::kRip};
    std::array<RegisterValue, 3> values{};
    RootHypercall request = hypercall_of(HypercallCode::kGetVpRegisters, list);
    request.repetitions = 3;
    request.output_pointer = reinterpret_cast<uint64_t>(values.data());
    request.output_size = sizeof(values);
    EXPECT_EQ(hypercall(partition, request), -EINVAL);
    EXPECT_EQ(request.status, static_cast<uint16_t>(HvStatus::kInvalidVpIndex));
}

}  // namespace
}  // namespace halcyon::mshv
