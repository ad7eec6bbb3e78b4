import { useEffect, useState } from "preact/hooks";

import { Chat } from "../chat";
import { demo, forget, remember, remembered, type Demo, type Identity } from "../session";
import { ChatFrame } from "./frame";
import { SignIn } from "./signin";

type Stage =
  | { at: "starting" }
  | { at: "sign-in"; server: Demo; problem?: string }
  | { at: "chat"; chat: Chat };

/** Signs the user in, by memory where possible, and hands over to the chat. */
export function App() {
  const [stage, setStage] = useState<Stage>({ at: "starting" });

  const enter = (server: Demo, identity: Identity): void => {
    remember(identity);
    const chat = new Chat(server, identity);
    chat.start();
    setStage({ at: "chat", chat });
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
    return <SignIn server={stage.server} problem={stage.problem} onIdentity={(identity) => enter(stage.server, identity)} />;
  }
  const signOut = (): void => {
    stage.chat.stop();
    forget();
    setStage({ at: "starting" });
    void begin();
  };
  return <ChatFrame chat={stage.chat} onSignOut={signOut} />;
}
