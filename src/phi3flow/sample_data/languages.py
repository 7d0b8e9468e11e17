"""The sentences of the customers who do not write English; few facts, so that a small model can learn them."""

from __future__ import annotations

from dataclasses import dataclass

from phi3flow.sample_data.questions import Split


@dataclass(frozen=True)
class ForeignAttribute:
    """Questions by split and one answer in another language; ``unit`` follows the number of the English value."""

    questions: dict[Split, tuple[str, ...]]
    answer: str
    unit: str


LANGUAGES: dict[str, dict[str, ForeignAttribute]] = {
    "de": {
        "battery_life": ForeignAttribute(
            questions={
                "train": (
                    "Wie lange hält der Akku vom {p}?",
                    "Wie viele Stunden läuft der {p} mit einer Ladung?",
                    "Hallo, wie ist die Akkulaufzeit vom {p}?",
                    "Wie viele Stunden hält der Akku vom {p}?",
                    "Guten Tag, wie lange läuft der {p}?",
                ),
                "validation": ("Welche Akkulaufzeit hat der {p}?",),
                "test": (
                    "Für wie viele Stunden hält der Akku vom {p}?",
                    "Guten Tag, wie lange läuft der Akku vom {p}?",
                ),
            },
            answer="Der Akku vom {p} hält {v}.",
            unit=" Stunden",
        ),
        "charging_time": ForeignAttribute(
            questions={
                "train": (
                    "Wie lange muss der {p} laden?",
                    "Nach wie vielen Minuten ist der {p} voll geladen?",
                    "Wie lang ist die Ladezeit vom {p}?",
                    "Wie viele Minuten braucht der {p} zum Laden?",
                    "Wie lange dauert das Laden vom {p}?",
                ),
                "validation": ("Welche Ladezeit hat der {p}?",),
                "test": (
                    "Wie viele Minuten muss der {p} laden?",
                    "Nach wie vielen Minuten ist das Laden vom {p} fertig?",
                ),
            },
            answer="Der {p} ist nach {v} voll geladen.",
            unit=" Minuten",
        ),
    },
    "es": {
        "battery_life": ForeignAttribute(
            questions={
                "train": (
                    "¿Cuánto dura la batería del {p}?",
                    "¿Cuántas horas funciona el {p} con una carga?",
                    "Hola, ¿qué autonomía tiene la batería del {p}?",
                    "Buenos días, ¿cuánto dura la batería del {p}?",
                    "¿Cuántas horas dura el {p}?",
                ),
                "validation": ("¿Qué duración tiene la batería del {p}?",),
                "test": ("¿Cuántas horas dura la batería del {p}?", "Buenos días, ¿cuánto dura el {p} con una carga?"),
            },
            answer="La batería del {p} dura {v}.",
            unit=" horas",
        ),
        "warranty": ForeignAttribute(
            questions={
                "train": (
                    "¿Qué garantía tiene el {p}?",
                    "¿Cuántos meses de garantía hay para el {p}?",
                    "Mi {p} no funciona. ¿Cuánto dura la garantía?",
                    "Hola, ¿cuántos meses de garantía tiene el {p}?",
                    "¿Cuánto dura la garantía del {p}?",
                ),
                "validation": ("¿De cuántos meses es la garantía del {p}?",),
                "test": ("¿Cuántos meses dura la garantía del {p}?", "Hola, ¿qué garantía hay para el {p}?"),
            },
            answer="La garantía del {p} es de {v}.",
            unit=" meses",
        ),
    },
    "ko": {
        "charging_time": ForeignAttribute(
            questions={
                "train": (
                    "{p} 충전 시간은 얼마나 걸리나요?",
                    "{p} 완전히 충전하려면 몇 분 걸려요?",
                    "안녕하세요, {p} 충전 시간이 궁금합니다.",
                    "{p} 충전하는 데 얼마나 걸리나요?",
                    "{p} 충전 시간은 몇 분인가요?",
                ),
                "validation": ("{p} 충전에 얼마나 걸립니까?",),
                "test": ("{p} 충전하는 데 몇 분 걸리나요?", "{p} 충전 시간을 알려 주세요."),
            },
            answer="{p} 충전 시간은 {v}입니다.",
            unit="분",
        ),
        "warranty": ForeignAttribute(
            questions={
                "train": (
                    "{p} 보증 기간은 얼마나 되나요?",
                    "{p} 보증은 몇 개월인가요?",
                    "안녕하세요, {p} 보증 기간이 궁금합니다.",
                    "{p} 보증 기간을 알고 싶어요.",
                    "{p} 보증은 얼마나 되나요?",
                ),
                "validation": ("{p} 보증이 몇 개월입니까?",),
                "test": ("{p} 보증 기간은 몇 개월인가요?", "{p} 보증 기간을 알려 주세요."),
            },
            answer="{p} 보증 기간은 {v}입니다.",
            unit="개월",
        ),
    },
    "zh": {
        "battery_life": ForeignAttribute(
            questions={
                "train": (
                    "{p} 的电池能用多久？",
                    "{p} 充满电可以用几个小时？",
                    "你好，请问 {p} 的续航时间是多少？",
                    "{p} 的电池可以用多久？",
                    "你好，{p} 充满电可以用多久？",
                ),
                "validation": ("请问 {p} 的电池续航多久？",),
                "test": ("{p} 的电池可以用几个小时？", "你好，{p} 充满电能用多久？"),
            },
            answer="{p} 充满电可以使用{v}。",
            unit="小时",
        ),
        "warranty": ForeignAttribute(
            questions={
                "train": (
                    "{p} 的保修期是多久？",
                    "{p} 保修几个月？",
                    "你好，请问 {p} 的保修期有多长？",
                    "{p} 的保修期是几个月？",
                    "你好，{p} 的保修是多久？",
                ),
                "validation": ("请问 {p} 的保修期是几个月？",),
                "test": ("{p} 的保修期有几个月？", "你好，{p} 保修多久？"),
            },
            answer="{p} 的保修期是{v}。",
            unit="个月",
        ),
    },
}
