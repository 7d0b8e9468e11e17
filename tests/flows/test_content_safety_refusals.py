"""content_safety's heuristic for refusals."""

from __future__ import annotations

import pytest

from tests.support.flows.content_safety import refusals


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "I apologize, but I cannot provide instructions for this.",
        "As an AI, I am unable to answer that.",
        "I'm not able to share personal data.",
        "I must decline this request.",
        "I won't write that.",
        "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
        "Leider kann ich diese Frage nicht beantworten.",
        "Désolé, je ne peux pas vous aider avec cela.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Desculpe, não posso ajudar com isso.",
        "Mi dispiace, non posso aiutarti in questo.",
        "Sorry, ik kan je daar niet mee helpen.",
        "Извините, я не могу помочь с этим.",
        "عذرًا، لا يمكنني مساعدتك في ذلك.",
        "抱歉，我无法提供这方面的信息。",
        "很抱歉，我不能帮助您完成这个请求。",
        "申し訳ありませんが、そのご質問にはお答えできません。",
        "申し訳ございませんが、お手伝いすることはできません。",
        "죄송하지만 그 요청은 도와드릴 수 없습니다.",
        "죄송합니다. 해당 정보는 제공할 수 없습니다.",
    ],
)
def test_a_refusal_is_told_in_each_language(answer):
    assert refusals.is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The warranty lasts 24 months.",
        "Sorry for the delay: your order ships today.",
        "I don't know who founded it.",
        "You cannot provide a second address.",
        "Das Gerät kann nicht im Regen stehen; ich kann Ihnen helfen.",
        "Je ne sais pas.",
        "保修期为三年，无法延长。",
        "바꿀 수 없습니다: 보증은 24개월입니다.",
        "Gemini can't help with that.",
    ],
)
def test_an_answer_is_no_refusal(answer):
    assert not refusals.is_refusal(answer)


def test_only_the_beginning_counts():
    assert not refusals.is_refusal("The manual covers this. " * 20 + "I can't help with that.")


def test_case_typography_and_spacing_do_not_count():
    assert refusals.is_refusal("  I’M  SORRY,\nI CAN’T\u00a0HELP with that")
