// The answer to query-qmp-schema: that it is QEMU's format, and complete.
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "test_commands.h"

namespace halcyon {
namespace {

class Introspection : public testing::Test {
protected:
    Introspection() {
        client.negotiate();
        Json reply = client.ask(R"({"execute":"query-qmp-schema"})").at(0);
        for (Json& entry : reply["return"]) {
            const auto name = entry["name"].get<std::string>();
            EXPECT_FALSE(entries.contains(name)) << name;
            entries[name] = std::move(entry);
        }
    }

    /// The entry of the type of `object`'s member `name`.
    Json& member_type(const Json& object, const std::string& name) {
        for (const Json& member : object["members"]) {
            if (member["name"] == name) {
                return entries.at(member["type"]);
            }
        }
        ADD_FAILURE() << "no member " << name;
        return entries.at("0");
    }

    Server server;
    Client client{server.dispatcher};
    std::map<std::string, Json> entries;
};

/// Every name of a type in `value`.
void collect_references(const Json& value, std::set<std::string>& names) {
    if (value.is_structured()) {
        for (const auto& [key, inner] : value.items()) {
            if (value.is_object() && (key == "type" || key.ends_with("-type")) &&
                key != "meta-type" && key != "json-type") {
                names.insert(inner.get<std::string>());
            }
            collect_references(inner, names);
        }
    }
}

TEST_F(Introspection, ResolvesEveryType) {
    std::set<std::string> names;
    for (const auto& [name, entry] : entries) {
        collect_references(entry, names);
    }
    EXPECT_GT(names.size(), 10U);
    for (const std::string& name : names) {
        EXPECT_TRUE(entries.contains(name)) << name;
    }
}

TEST_F(Introspection, ListsEveryCommandAndEvent) {
    for (const CommandEntry& command : qmp::command_table()) {
        EXPECT_EQ(entries.at(std::string(command.name))["meta-type"], "command");
    }
    EXPECT_EQ(entries.at("SHUTDOWN")["meta-type"], "event");
    EXPECT_EQ(entries.at("STOP"),
              Json::parse(R"({"name":"STOP","meta-type":"event","arg-type":"0"})"));
}

TEST_F(Introspection, MasksTheNamesOfTypes) {
    for (const auto& [name, entry] : entries) {
        const std::string meta = entry["meta-type"];
        if (meta == "object" || meta == "enum" || meta == "alternate") {
            EXPECT_EQ(name.find_first_not_of("0123456789"), std::string::npos) << name;
        }
    }
    EXPECT_FALSE(entries.contains("Everything"));
}

TEST_F(Introspection, DescribesObjects) {
    const Json& command = entries.at("test-everything");
    EXPECT_EQ(command["arg-type"], command["ret-type"]);
    const Json& object = entries.at(command["arg-type"]);
    EXPECT_EQ(object["meta-type"], "object");
    EXPECT_EQ(object["members"][0], Json::parse(R"({"name":"text","type":"str"})"));
    EXPECT_EQ(object["members"][4], Json::parse(R"({"name":"tiny","type":"int","default":null})"));
    EXPECT_EQ(member_type(object, "any")["json-type"], "value");
    EXPECT_EQ(member_type(object, "size"),
              Json::parse(R"({"name":"int","meta-type":"builtin","json-type":"int"})"));
}

TEST_F(Introspection, DescribesArraysAndEnumerations) {
    const Json& object = entries.at(entries.at("test-everything")["arg-type"]);
    const Json& array = member_type(object, "states");
    EXPECT_EQ(array["meta-type"], "array");
    const std::string element = array["element-type"];
    EXPECT_EQ(array["name"], "[" + element + "]");
    const Json& enumeration = entries.at(element);
    EXPECT_EQ(enumeration["meta-type"], "enum");
    EXPECT_EQ(enumeration["values"], Json::parse(R"(["running","broken","guest-panicked"])"));
    EXPECT_EQ(enumeration["members"][1], Json::parse(R"({"name":"broken"})"));
}

TEST_F(Introspection, DescribesTheMembersOfABase) {
    const Json& outer =
        member_type(entries.at(entries.at("test-everything")["arg-type"]), "backend");
    EXPECT_EQ(member_type(outer, "derived")["members"].size(), 3U);
}

TEST_F(Introspection, DescribesUnions) {
    const Json& shape = entries.at(entries.at("test-shape")["arg-type"]);
    EXPECT_EQ(shape["tag"], "kind");
    ASSERT_EQ(shape["variants"].size(), 3U);
    EXPECT_EQ(shape["variants"][2], Json::parse(R"({"case":"point","type":"0"})"));
    const Json& circle = entries.at(shape["variants"][0]["type"]);
    EXPECT_EQ(circle["members"][0]["name"], "radius");
}

TEST_F(Introspection, DescribesAlternates) {
    const Json& arguments = entries.at(entries.at("test-alternate")["arg-type"]);
    const Json& alternate = member_type(arguments, "default");
    EXPECT_EQ(alternate["meta-type"], "alternate");
    EXPECT_EQ(alternate["members"].size(), 4U);
    EXPECT_EQ(alternate["members"][0], Json::parse(R"({"type":"str"})"));
}

TEST_F(Introspection, TellsFeaturesAndOob) {
    EXPECT_EQ(entries.at("__org.test_vendor-extension")["features"],
              Json::parse(R"(["unstable"])"));
    EXPECT_EQ(entries.at("test-oob")["allow-oob"], true);
    EXPECT_FALSE(entries.at("test-slow").contains("allow-oob"));
}

TEST_F(Introspection, HasAnEmptyObjectForNothing) {
    EXPECT_EQ(entries.at("test-empty")["arg-type"], "0");
    EXPECT_EQ(entries.at("test-slow")["ret-type"], "0");
    EXPECT_EQ(entries.at("0"), Json::parse(R"({"name":"0","meta-type":"object","members":[]})"));
}

}  // namespace
}  // namespace halcyon
