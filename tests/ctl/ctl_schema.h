/// A schema with every kind of type, for the tests of halcyonctl.
#pragma once

#include "ctl/qmp_schema.h"

namespace halcyon {

inline QmpSchema test_schema() {
    static const Json kEntries = Json::parse(R"([
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
        {"name": "int", "meta-type": "builtin", "json-type": "int"},
        {"name": "bool", "meta-type": "builtin", "json-type": "boolean"},
        {"name": "number", "meta-type": "builtin", "json-type": "number"},
        {"name": "null", "meta-type": "builtin", "json-type": "null"},
        {"name": "any", "meta-type": "builtin", "json-type": "value"},
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "1", "meta-type": "enum", "values": ["utf8", "base64"],
         "members": [{"name": "utf8"}, {"name": "base64"}]},
        {"name": "[int]", "meta-type": "array", "element-type": "int"},
        {"name": "[1]", "meta-type": "array", "element-type": "1"},
        {"name": "[2]", "meta-type": "array", "element-type": "2"},
        {"name": "2", "meta-type": "object", "members": [
            {"name": "type", "type": "3"},
            {"name": "note", "type": "str", "default": null}],
         "tag": "type", "variants": [{"case": "file", "type": "4"}, {"case": "null", "type": "0"}]},
        {"name": "3", "meta-type": "enum", "values": ["file", "null"]},
        {"name": "4", "meta-type": "object", "members": [
            {"name": "out", "type": "str"}, {"name": "next", "type": "2", "default": null}]},
        {"name": "5", "meta-type": "alternate", "members": [
            {"type": "str"}, {"type": "int"}, {"type": "null"}, {"type": "4"}]},
        {"name": "6", "meta-type": "object", "members": [
            {"name": "s", "type": "str", "default": null},
            {"name": "i", "type": "int", "default": null},
            {"name": "b", "type": "bool", "default": null},
            {"name": "n", "type": "number", "default": null},
            {"name": "a", "type": "any", "default": null},
            {"name": "e", "type": "1", "default": null},
            {"name": "ints", "type": "[int]", "default": null},
            {"name": "enums", "type": "[1]", "default": null},
            {"name": "objects", "type": "[2]", "default": null},
            {"name": "o", "type": "2", "default": null},
            {"name": "alt", "type": "5", "default": null},
            {"name": "x.y", "type": "4", "default": null},
            {"name": "lost", "type": "nowhere", "default": null}]},
        {"name": "7", "meta-type": "object", "members": [{"name": "id", "type": "str"}]},
        {"name": "all", "meta-type": "command", "arg-type": "6", "ret-type": "0"},
        {"name": "one", "meta-type": "command", "arg-type": "7", "ret-type": "0"},
        {"name": "none", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
        {"name": "flat", "meta-type": "command", "arg-type": "2", "ret-type": "0"},
        {"name": "STOP", "meta-type": "event", "arg-type": "0"}
    ])");
    return *QmpSchema::parse(kEntries);
}

}  // namespace halcyon
