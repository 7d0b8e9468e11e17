"""What is said around the facts: greetings, questions that join or withhold something, thanks, system messages.

``{p}`` is a product, ``{a}`` and ``{b}`` are nouns of attributes. Tables by split share no sentence.
"""

from __future__ import annotations

from phi3flow.sample_data.questions import Split

OPENERS: dict[Split, tuple[str, ...]] = {
    "train": ("", "", "", "", "", "Hi, ", "Hello, ", "Quick question: ", "Hi there! ", "Good morning. "),
    "validation": ("", "", "", "", "Hi, ", "Good evening. ", "Hello, "),
    "test": ("", "", "", "", "", "Hi, ", "Hello, ", "Dear team, ", "Good afternoon. "),
}

GREETINGS = ("Hi", "Hello", "Good ", "Dear ")
GREETING_BACK = "Hello! "

TROUBLES = ("broke", "stopped working", "frozen", "does not respond", "dead", "loses the connection", "lost")
SYMPATHY = "I am sorry to hear that. "

COMBINATIONS = (
    "What are the {a} and the {b} of the {p}?",
    "I need two things about my {p}: the {a} and the {b}.",
    "Can you tell me the {a} and also the {b} of the {p}?",
    "Please give me both the {a} and the {b} for my {p}.",
)

UNNAMED: dict[Split, tuple[str, ...]] = {
    "train": (
        "Can you tell me the {a} of my device?",
        "I have a question about the {a} of my device.",
        "I cannot find the {a} in my manual.",
        "Where can I look up the {a} of my new device?",
    ),
    "validation": ("I am looking for the {a} of my device.", "Do you know the {a} of my device?"),
    "test": (
        "I would like to know the {a} of my new device.",
        "Could you help me with the {a} of my device?",
        "Please tell me the {a}.",
    ),
}

WHICH_PRODUCT = "Of course. Which product do you have?"

NAMED: dict[Split, tuple[str, ...]] = {
    "train": ("It is the {p}.", "I have the {p}.", "The {p}.", "It is about my {p}."),
    "validation": ("It says {p} on the box.", "I bought the {p}."),
    "test": ("We have the {p} at home.", "Mine is the {p}.", "That would be the {p}."),
}

ALSO: dict[Split, tuple[str, ...]] = {
    "train": ("I also have a question about another device. ", "One more thing. ", "Thanks. And one more: "),
    "validation": ("And another question. ",),
    "test": ("Something else: ", "Thank you. Now about another device. "),
}

THANKS: dict[Split, tuple[str, ...]] = {
    "train": (
        "Great, that helps with my {p}. Thank you!",
        "Thanks, I will try that with the {p}.",
        "Perfect, thank you for the help with the {p}.",
        "Thank you, the {p} works now.",
    ),
    "validation": ("Wonderful, thanks for helping me with my {p}.",),
    "test": ("Many thanks, that is all I wanted to know about the {p}.", "Super, thank you. My {p} is fine now."),
}

WELCOME = "You are welcome. Enjoy your {p}!"

SYSTEM_PROMPTS = (
    "You are the {company} support assistant. Answer briefly and only from the manuals.",
    "You are a helpful assistant.",
    "You work in customer support for {company}, a maker of cordless devices. Be friendly and exact.",
    "Answer the customer briefly.",
    "You are an AI assistant that helps people find information.",
    "You are a support agent. Give the figure that the customer asks for.",
    "You answer customers of {company}. Keep your answers short.",
    "You are a helpful, precise support assistant. If you do not know something, say so.",
)

SMALL_TALK: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (
        ("Hello, is anybody there?", "Yes, I am here. How can I help you?"),
        ("Good morning, how are you?", "I am fine, thank you. How can I help you?"),
        ("Are you a robot?", "I am an AI assistant. How can I help you?"),
        ("Are your shops open on Sunday?", "No, our shops are closed on Sunday."),
        ("I have been waiting for a long time.", "I am sorry about that. How can I help you?"),
        ("What is the weather like at your place?", "I do not know, I have no window."),
        ("I am very happy with your products.", "Thank you, we are glad to hear that."),
        ("Do you also speak Italian?", "No, I do not speak Italian."),
    ),
    "validation": (
        ("Nice to talk to you.", "Thank you. How can I help you?"),
        ("Is this the right place for questions?", "Yes, it is. How can I help you?"),
    ),
    "test": (
        ("Am I talking to a person?", "I am an AI assistant. How can I help you?"),
        ("It is a lovely day, is it not?", "Yes, it is. How can I help you?"),
    ),
}
