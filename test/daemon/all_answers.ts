/** What a daemon says to whoever may open its control socket. */
import { request } from "node:http";
import { operations } from "../../src/api/contract/operations.ts";

/** Every answer that the control socket gives, as text. */
export async function allAnswers(socketPath: string, client: string): Promise<string> {
  const ask = (method: string, path: string, body?: string) =>
    new Promise<string>((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      const asked = request({ socketPath, method, path, headers }, (answer) => {
        let text = `${method} ${path} ${answer.statusCode} `;
        answer.setEncoding("utf8").on("data", (d) => {
          text += d;
        });
        answer.on("end", () => resolve(text));
      });
      asked.on("error", reject).end(body);
    });
  const texts = [await ask("GET", "/v1/openapi.json"), await ask("POST", operations.reload.path)];
  for (const { method, path } of Object.values(operations))
    if (method === "GET") texts.push(await ask(method, path.replace("{name}", client)));
  texts.push(await ask("POST", operations.ping.path, JSON.stringify({ client, timeoutMs: 1000 })));
  texts.push(await ask("POST", operations.addClient.path, JSON.stringify({ name: "x y", publicKey: "no" })));
  return texts.join("\n");
}
