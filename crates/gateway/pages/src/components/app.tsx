import { useEffect, useState } from "preact/hooks";

import { Chat } from "../chat";
import { demo, forget, remember, remembered, type Demo, type Identity } from "../session";
import { ChatFrame } from "./frame";
import { SignIn } from "./signin";

type Stage =
  | { at: "starting" }
  | { at: "sign-in"; server: Demo; problem?: string | undefined }
  | { at: "chat"; server: Demo; chat: Chat };

/** Signs the user in, by memory where possible, and hands over to the chat. */
export function App() {
  const [stage, setStage] = useState<Stage>({ at: "starting" });

  const enter = (server: Demo, identity: Identity): void => {
    remember(identity);
    const chat = new Chat(server, identity);
    chat.start();
    setStage({ at: "chat", server, chat });
  };

  const begin = async (): Promise<void> => {
    const server = await demo();
    try {
      const identity = await remembered(server);
      if (identity) enter(server, identity);
      else setStage({ at: "sign-in", server });
    } catch (error) {
      setStage({ at: "sign-in", server, problem: (error as Error).message });
    }
  };

  useEffect(() => void begin(), []);

  if (stage.at === "starting") return null;
  if (stage.at === "sign-in") {
    const { server, problem } = stage;
    return <SignIn server={server} problem={problem} onIdentity={(identity) => enter(server, identity)} />;
  }
  const { chat, server } = stage;
  const leave = (problem?: string): void => {
    chat.stop();
    forget();
    setStage({ at: "sign-in", server, problem });
  };
  return <ChatFrame chat={chat} onSignOut={() => leave()} onRefused={leave} />;
}
