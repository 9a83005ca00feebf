// What the page asks of the server that it came from; see textseg3d/server/app.py.

export class ServerError extends Error {
  constructor(status, answer) {
    const rule = answer.rule ? ` (rule ${answer.rule}: ${answer.expected})` : "";
    const number = answer.id ? ` [log entry ${answer.id}]` : "";
    super(`${answer.error || "the server failed"}${rule}${number}`);
    this.status = status;
  }
}

async function refusal(response) {
  try {
    return new ServerError(response.status, await response.json());
  } catch {
    return new ServerError(response.status, { error: `the server said ${response.status}` });
  }
}

export class Server {
  constructor(token) {
    this.token = token;
  }

  async request(method, path, body) {
    const headers = { Authorization: `Bearer ${this.token}` };
    const response = await fetch(path, { method, headers, body, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    return response;
  }

  async json(path) {
    return (await this.request("GET", path)).json();
  }

  async buffer(path) {
    return (await this.request("GET", path)).arrayBuffer();
  }

  // XMLHttpRequest, because fetch does not tell how much was sent.
  upload(blob, onProgress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", "/images");
      request.setRequestHeader("Authorization", `Bearer ${this.token}`);
      request.responseType = "json";
      request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
      request.onload = () => {
        const answer = request.response || {};
        if (request.status === 201) resolve(answer.image);
        else reject(new ServerError(request.status, answer));
      };
      request.onerror = () => reject(new Error("the server cannot be reached; does it still run?"));
      request.send(blob);
    });
  }

  async submit(image, prompts, format) {
    const body = JSON.stringify({ image, prompts, format });
    return (await (await this.request("POST", "/jobs", body)).json()).job;
  }

  // Calls onEvent for each event of a job; resolves with the last one.
  async follow(job, onEvent) {
    const response = await this.request("GET", `/jobs/${job}/events`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let last = {};
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return last;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) {
        last = JSON.parse(line);
        onEvent(last);
      }
    }
  }
}
