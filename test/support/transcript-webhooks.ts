import type { TestApiServer } from './api-server.ts';
import { type HiddenAct, webhookAnswers, webhookCaBundle, webhookUrl } from './transcript-hidden.ts';
import { startWebhookServer, type WebhookServer } from './webhook-server.ts';

/** The webhooks of the recorded cluster: they answer as they did then, from a port of their own. */
export interface RecordedWebhooks {
  /** Does what was done between two requests; an act that names the webhooks gets their address. */
  perform(act: HiddenAct): Promise<void>;
  stop(): Promise<void>;
}

export function createRecordedWebhooks({ pki }: TestApiServer, act: (act: HiddenAct) => Promise<void>): RecordedWebhooks {
  let server: WebhookServer | undefined;

  async function started(): Promise<WebhookServer> {
    if (server === undefined) {
      server = await startWebhookServer(pki);
      for (const [path, answer] of Object.entries(webhookAnswers)) server.answer(path, answer);
    }
    return server;
  }

  return {
    async perform(hidden) {
      if (hidden.stopsWebhooks === true) {
        await server?.stop();
        return;
      }
      const text = JSON.stringify(hidden);
      if (!text.includes(webhookUrl)) {
        await act(hidden);
        return;
      }
      const { url, caBundle } = await started();
      await act(JSON.parse(text.replaceAll(webhookUrl, url).replaceAll(webhookCaBundle, caBundle)) as HiddenAct);
    },
    async stop() {
      await server?.stop();
    },
  };
}
