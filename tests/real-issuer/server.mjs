// oauth2-mock-server, which nobody here wrote, on a free port of the loopback interface.
//
// Prints one line of JSON when it listens and one for each token request, and ends when its stdin does, so that it
// never outlives the test that started it.

import { randomUUID } from "node:crypto";
import { OAuth2Server } from "oauth2-mock-server";

const say = (line) => console.log(JSON.stringify(line));

const server = new OAuth2Server();
await server.issuer.keys.generate("RS256");
// Two tokens of one second would be the same otherwise.
server.service.on("beforeTokenSigning", (token) => {
  token.payload.jti = randomUUID();
});
server.service.on("beforeResponse", (response, request) => {
  const { client_id: id, audience, grant_type: grant } = request.body;
  say({ id, audience, grant, members: Object.keys(request.body).sort(), status: response.statusCode });
});
await server.start(0, "127.0.0.1");
say({ port: server.address().port });

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
