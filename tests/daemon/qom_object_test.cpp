#include <gtest/gtest.h>

#include "daemon/qom/object.h"

namespace halcyon::qom {
namespace {

/// /machine (with a link to /objects/x), /machine/peripheral/x, /objects/x, /objects/only
class ObjectTest : public testing::Test {
protected:
    ObjectTest() {
        Object& machine = root_.add_child("machine", "none-machine");
        machine.put("memory-backend", "/objects/only");
        machine.container("peripheral").container("x");
        root_.container("objects").container("x");
        root_.container("objects").container("only");
    }
    std::string at(std::string_view path) {
        const Resolved found = resolve(root_, path);
        return found.ambiguous ? "ambiguous" : found.object ? found.object->path() : "nothing";
    }
    Object root_{"", "container"};
};

TEST_F(ObjectTest, AbsolutePathsAreFollowed) {
    EXPECT_EQ(at("/"), "/");
    EXPECT_EQ(at("/machine"), "/machine");
    EXPECT_EQ(at("/machine/peripheral/x"), "/machine/peripheral/x");
    EXPECT_EQ(at("//machine//peripheral/"), "/machine/peripheral");
    EXPECT_EQ(at("/peripheral"), "nothing");
    EXPECT_EQ(at("/machine/type"), "nothing");
    EXPECT_EQ(at("/machine/.."), "nothing");
}

TEST_F(ObjectTest, TheEndOfAPathIsEnoughWhenItIsUnique) {
    EXPECT_EQ(at("only"), "/objects/only");
    EXPECT_EQ(at("peripheral/x"), "/machine/peripheral/x");
    EXPECT_EQ(at("x"), "ambiguous");
    EXPECT_EQ(at(""), "ambiguous");
    EXPECT_EQ(at("nowhere"), "nothing");
}

TEST_F(ObjectTest, LinksAreFollowed) {
    EXPECT_EQ(at("/machine/memory-backend"), "/objects/only");
}

TEST_F(ObjectTest, APropertyThatTheTypeLacksIsNotTaken) {
    Object object("o", "container");
    object.put("iobase", 1);
    EXPECT_EQ(object.find_property("iobase"), nullptr);
    EXPECT_EQ(object.find_property("type")->value, "container");
}

TEST(QomTypes, EveryParentAndInterfaceExists) {
    for (const TypeSpec& type : types()) {
        EXPECT_TRUE(type.parent.empty() || find_type(type.parent) != nullptr) << type.name;
        EXPECT_TRUE(type.interface.empty() || find_type(type.interface) != nullptr) << type.name;
        EXPECT_TRUE(is_a(type, "object") || is_a(type, "interface")) << type.name;
        EXPECT_EQ(find_type(type.name), &type) << "two of one name";
    }
}

TEST(QomTypes, DefaultsAreJson) {
    for (const TypeSpec& type : types()) {
        for (const PropertySpec& property : type.properties) {
            EXPECT_TRUE(property.default_value.empty() || Json::accept(property.default_value))
                << type.name << "." << property.name;
        }
    }
}

TEST(QomTypes, PropertiesAreInherited) {
    const TypeSpec& rtc = *find_type("mc146818rtc");
    EXPECT_EQ(properties_of(rtc).front()->name, "type");
    EXPECT_NE(find_property(rtc, "realized"), nullptr);
    EXPECT_NE(find_property(rtc, "iobase"), nullptr);
    EXPECT_EQ(find_property(rtc, "chardev"), nullptr);
    EXPECT_TRUE(is_a(rtc, "isa-device"));
    EXPECT_FALSE(is_a(rtc, "pci-device"));
    EXPECT_TRUE(is_a(*find_type("secret"), "user-creatable"));
    EXPECT_TRUE(is_a(*find_type("secret"), "interface"));
}

}  // namespace
}  // namespace halcyon::qom
