// Commands about the object tree, and objects that clients make.

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "daemon/qom/tree.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

Error not_found(const std::string& path) {
    return Error("Device '" + path + "' not found", ErrorCode::kNotFound);
}

std::unique_ptr<qom::Object> build_tree(CommandContext& context) {
    return qom::build_tree(context.machine(), context.chardevs(), context.objects());
}

/// The object at `path` of a tree.
Result<const qom::Object*> find(const qom::Object& root, const std::string& path) {
    const qom::Object* const object = qom::resolve(root, path).object;
    if (object == nullptr) {
        return not_found(path);
    }
    return object;
}

/// "TYPE.PROPERTY", as errors name it.
std::string quote(const qom::Object& object, const std::string& property) {
    return "'" + std::string(object.type().name) + "." + property + "'";
}

ObjectPropertyInfo describe(const qom::PropertySpec& spec) {
    ObjectPropertyInfo info;
    info.name = spec.name;
    info.type = spec.type;
    if (!spec.description.empty()) {
        info.description = spec.description;
    }
    return info;
}

Error not_a_device() {
    return Error("Parameter 'typename' expects a non-abstract device type");
}

}  // namespace

Result<std::vector<ObjectPropertyInfo>> qmp_qom_list(CommandContext& context,
                                                     const QomListArguments& arguments) {
    const auto tree = build_tree(context);
    const qom::Resolved found = qom::resolve(*tree, arguments.path);
    if (found.ambiguous) {
        return Error("Path '" + arguments.path + "' is ambiguous");
    }
    if (found.object == nullptr) {
        return not_found(arguments.path);
    }
    std::vector<ObjectPropertyInfo> infos;
    for (const qom::Object::Property& property : found.object->properties()) {
        infos.push_back({.name = property.name, .type = property.type});
    }
    for (const auto& child : found.object->children()) {
        infos.push_back(
            {.name = child->name(), .type = "child<" + std::string(child->type().name) + ">"});
    }
    return infos;
}

Result<Json> qmp_qom_get(CommandContext& context, const QomGetArguments& arguments) {
    const auto tree = build_tree(context);
    const qom::Object* const object = TRY(find(*tree, arguments.path));
    if (const auto* const property = object->find_property(arguments.property)) {
        return property->value;
    }
    if (const qom::Object* const child = object->find_child(arguments.property)) {
        return Json(child->path());
    }
    return Error("Property " + quote(*object, arguments.property) + " not found");
}

Result<void> qmp_qom_set(CommandContext& context, const QomSetArguments& arguments) {
    const auto tree = build_tree(context);
    const qom::Object* const object = TRY(find(*tree, arguments.path));
    const auto* const property = object->find_property(arguments.property);
    if (property == nullptr && object->find_child(arguments.property) == nullptr) {
        return Error("Property " + quote(*object, arguments.property) + " not found");
    }
    if (property != nullptr && property->set) {
        return property->set(arguments.value);
    }
    if (property != nullptr && property->of_device) {
        return Error("Attempt to set property '" + arguments.property +
                     "' on anonymous device (type '" + std::string(object->type().name) +
                     "') after it was realized");
    }
    return Error("Property " + quote(*object, arguments.property) + " is not writable");
}

Result<std::vector<ObjectTypeInfo>> qmp_qom_list_types(CommandContext&,
                                                       const QomListTypesArguments& arguments) {
    std::vector<ObjectTypeInfo> infos;
    for (const qom::TypeSpec& type : qom::types()) {
        if ((type.is_abstract && !arguments.abstract.value_or(false)) ||
            !qom::is_a(type, arguments.implements.value_or(std::string(type.name)))) {
            continue;
        }
        ObjectTypeInfo info;
        info.name = type.name;
        if (type.is_abstract) {
            info.abstract = true;
        }
        if (!type.parent.empty()) {
            info.parent = type.parent;
        }
        infos.push_back(std::move(info));
    }
    return infos;
}

Result<std::vector<ObjectPropertyInfo>> qmp_qom_list_properties(
    CommandContext&, const QomListPropertiesArguments& arguments) {
    const qom::TypeSpec* const type = qom::find_type(arguments.typename_);
    if (type == nullptr) {
        return Error("Class '" + arguments.typename_ + "' not found", ErrorCode::kNotFound);
    }
    std::vector<ObjectPropertyInfo> infos;
    for (const qom::PropertySpec* spec : qom::properties_of(*type)) {
        infos.push_back(describe(*spec));
    }
    return infos;
}

Result<std::vector<ObjectPropertyInfo>> qmp_device_list_properties(
    CommandContext&, const DeviceListPropertiesArguments& arguments) {
    const qom::TypeSpec* const type = qom::find_type(arguments.typename_);
    if (type == nullptr) {
        return not_found(arguments.typename_);
    }
    if (type->is_abstract || !qom::is_a(*type, "device")) {
        return not_a_device();
    }
    std::vector<ObjectPropertyInfo> infos;
    for (const qom::PropertySpec* spec : qom::properties_of(*type)) {
        if (!spec->of_device) {
            continue;
        }
        ObjectPropertyInfo info = describe(*spec);
        if (!spec->default_value.empty()) {
            info.default_value = Json::parse(spec->default_value, nullptr, false);
        }
        infos.push_back(std::move(info));
    }
    return infos;
}

Result<void> qmp_object_add(CommandContext& context, const ObjectOptions& arguments) {
    const auto& secret = std::get<SecretProperties>(arguments.branch);
    if (secret.loaded) {
        return Error("Property 'secret.loaded' is not writable");
    }
    if (secret.keyid || secret.iv) {
        return Error("Encrypted secrets ('keyid', 'iv') are not supported",
                     ErrorCode::kUnsupported);
    }
    return context.objects().add_secret(
        arguments.id,
        {.format = secret.format == QCryptoSecretFormat::kBase64 ? qom::SecretFormat::kBase64
                                                                 : qom::SecretFormat::kRaw,
         .data = secret.data,
         .file = secret.file});
}

Result<void> qmp_object_del(CommandContext& context, const ObjectDelArguments& arguments) {
    if (arguments.id == kMainMemoryId && is_pc(context.machine())) {
        return Error("object '" + arguments.id + "' is in use, can not be deleted");
    }
    return context.objects().remove(arguments.id);
}

}  // namespace halcyon::qmp
