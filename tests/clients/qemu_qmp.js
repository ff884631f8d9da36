// Drives the daemon with npm's qemu-qmp: its path, then the socket's.
"use strict";
const [modules, path] = process.argv.slice(2);
const QMP = require(modules + "/qemu-qmp");

const client = new QMP();

function execute(command, parameters) {
    return new Promise((resolve, reject) => {
        const done = (error, value) => (error ? reject(error) : resolve(value));
        parameters ? client.execute(command, parameters, done) : client.execute(command, done);
    });
}

function once(event) {
    return new Promise((resolve) => client.once(event, resolve));
}

function expect(what, condition) {
    if (!condition) {
        throw new Error(what);
    }
}

async function drive() {
    const commands = await execute("query-commands");
    expect("query-commands lists quit", commands.some((command) => command.name === "quit"));
    expect("the guest runs", (await execute("query-status")).running === true);
    const stopped = once("stop");
    await execute("stop");
    await stopped;
    expect("the guest is paused", (await execute("query-status")).status === "paused");
    const resumed = once("resume");
    await execute("cont");
    await resumed;
    const refused = await execute("no-such-command").catch((error) => error);
    expect("an unknown command is refused", refused instanceof Error);
    await execute("quit");
}

client.connect(path, (error) => {
    if (error) {
        throw error;
    }
    drive().then(
        () => {
            console.log("done");
            process.exit(0);
        },
        (failure) => {
            console.error(String(failure));
            process.exit(1);
        });
});
