// A browser starts no worker for a page that was opened from disk. The search's worker then runs in
// a hidden frame, which has a global scope of its own.
if (location.protocol === "file:") {
    window.Worker = class extends EventTarget {
        constructor(url) {
            super();
            const frame = document.createElement("iframe");
            frame.hidden = true;
            document.body.append(frame);
            this.scope = frame.contentWindow;
            this.scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
            const script = frame.contentDocument.createElement("script");
            this.loaded = new Promise((resolve) => script.addEventListener("load", resolve));
            script.src = url;
            frame.contentDocument.body.append(script);
        }

        postMessage(data) {
            this.loaded.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })));
        }
    };
}
