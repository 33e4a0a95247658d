// HTTP servers on loopback for as long as a test runs.
//
// Node closes a kept connection after 5 s without a request. A client that takes such a connection out of its pool in that
// moment writes into one that is being closed, and gets an error that says nothing about what is tested ("Server disconnected
// without sending a response" in the Python SDK, whose pool keeps connections for the same 5 s). These servers close none:
// their process ends with the test, and with it all of them.

import { createServer } from "node:http";

const HOST = "127.0.0.1";

// A server of what `work` answers. An error of a test's own request must not end it.
export function server(work) {
  const made = createServer((request, response) => {
    work(request, response).catch((error) => {
      console.error(error);
      if (!response.headersSent) response.writeHead(500);
      response.end(`${error.name}: ${error.message}`);
    });
  });
  made.keepAliveTimeout = 0; // Node: no time limit.
  return made;
}

// Begins to listen, on a port that the system chooses where it is 0; the address.
export function listen(made, port = 0) {
  return new Promise((resolve, reject) => {
    made.once("error", reject).listen(port, HOST, () => resolve(`http://${HOST}:${made.address().port}`));
  });
}
