// Drives the daemon over WebSocket with Node's own client, which is the browsers' API: the port.
"use strict";
const socket = new WebSocket("ws://127.0.0.1:" + process.argv[2], "binary");
socket.binaryType = "arraybuffer";
const decoder = new TextDecoder();
let text = "";
let wake = () => {};
socket.onmessage = (message) => {
    text += typeof message.data === "string" ? message.data
                                             : decoder.decode(message.data, {stream: true});
    wake();
};
socket.onerror = (error) => {
    console.error(error.message || "the connection failed");
    process.exit(1);
};

async function receive() {
    while (!text.includes("\n")) {
        await new Promise((resolve) => { wake = resolve; });
    }
    const [line, ...rest] = text.split("\n");
    text = rest.join("\n");
    return JSON.parse(line);
}

async function execute(command) {
    socket.send(JSON.stringify({execute: command}));
    for (;;) {
        const message = await receive();
        if (!message.event) {
            return message.return;
        }
    }
}

socket.onopen = async () => {
    const greeting = await receive();
    if (!greeting.QMP) {
        throw new Error("no greeting: " + JSON.stringify(greeting));
    }
    await execute("qmp_capabilities");
    const status = await execute("query-status");
    if (status.running !== true) {
        throw new Error("not running: " + JSON.stringify(status));
    }
    await execute("quit");
    console.log("done");
    process.exit(0);
};
