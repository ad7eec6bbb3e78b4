import { render } from "preact";

import { App } from "./components/app";
import "./styles/base.css";
import "./styles/signin.css";
import "./styles/frame.css";
import "./styles/conversation.css";

render(<App />, document.getElementById("app") as HTMLElement);
